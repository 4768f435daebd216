#!/usr/bin/python3
# Every word that a fault rule may have is in the manual, with what it takes and an example that works.
# If this fails, an operator never hears of a fault, or is told of one that does not exist.
import os
import re
import subprocess

from rig import BUILD, TESTS, Rig

PAGE = os.path.join(os.path.dirname(TESTS), "server/vnbd-fault.7")
SERVER = os.path.join(BUILD, "vnbd-server")


def said(*arguments):
    return subprocess.run([SERVER, *arguments], capture_output=True, text=True, timeout=20).stderr


def known(rule):
    """What the message about a bad rule lists."""
    return said("--fault", rule).split("known: ")[1].splitlines()[0].split(", ")


def reads(rule):
    """As an export's or the server's rule. The command line ends with what is refused, so that nothing is served."""
    option = ("--fault", rule) if re.match("accept|handshake", rule) else ("--export", "a=memory:1,fault=" + rule.replace(",", ",,"))
    return "--workers 0: " in said(*option, "--workers", "0")


with Rig() as rig:
    with open(PAGE) as page:
        source = page.read()
    rows = {re.sub(r"\s+", " ", re.sub(r"\b(Cm|Ar|Ns|Ta)\b", "", row)).strip()
            for row in re.findall(r"^\.It ((?:Cm|Ar) .*?) Ta", source, re.MULTILINE)}
    operations = set(re.findall(r"\w+", " ".join(re.findall(r"^\.It Cm ((?:[a-z]+(?: , )?)+)$", source, re.MULTILINE))))
    conditions, actions = known("x: close"), known("accept: x")
    words = {word for word in conditions if " " not in word and word not in ("FROM-TO", "once", "always")}
    rig.same("each operation has its item", sorted(words), sorted(operations))
    rig.same("each condition and action has its row, and no other", sorted({*conditions, *actions} - words),
             sorted(row.replace("FROM - TO", "FROM-TO") for row in rows))
    examples = re.findall(r"^\.Ql (.+: .+)$", source, re.MULTILINE) + re.findall(r"^((?:read|write) .*: .*)$", source, re.MULTILINE)
    rig.ok("there is an example for each", len(examples) >= len(rows), len(examples), len(rows))
    rig.same("all examples are rules", [], [example for example in examples if not reads(example.removesuffix(" ."))])
    for row in rows:
        word = re.sub(r" [A-Z-]+.*", "", row)
        rig.ok(f"{row}: in an example", word == "FROM-TO" or row.startswith("FROM") or any(
            re.search(rf"\b{word}\b", example) for example in examples))
    status = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", PAGE], capture_output=True, text=True)
    rig.same("mandoc finds nothing wrong", (0, ""), (status.returncode, status.stdout))
