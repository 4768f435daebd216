#!/usr/bin/python3
# vnbdctl shows people aligned tables and programs JSON, and its exit status tells who was wrong. If this fails, a script
# takes a refusal for success, or an operator reads a table that lies.
import json
import os
import re
import socket
import subprocess
import threading

from rig import BUILD, TESTS, Rig

TOP = os.path.dirname(TESTS)
VNBDCTL = os.path.join(BUILD, "vnbdctl")


def vnbdctl(*words, control=None):
    environment = {key: value for key, value in os.environ.items() if key != "VNBD_CONTROL"}
    if control:
        environment["VNBD_CONTROL"] = control
    result = subprocess.run([VNBDCTL, *words], env=environment, capture_output=True, text=True)
    return result.returncode, result.stdout, result.stderr


class Mock:
    """A server that answers every request with the next of its lines, and keeps what it was asked."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.answers, self.asked = [], []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.listener.accept()
            with connection, connection.makefile("rwb") as lines:
                self.asked.append(json.loads(lines.readline()))
                lines.write(self.answers.pop(0))

    def result(self, result):
        self.answers.append(json.dumps({"id": None, "ok": True, "result": result}).encode() + b"\n")


with Rig() as rig:
    control, disk = rig.path("control"), rig.disk("disk", "1M")
    server = rig.server("--control", "unix:" + control, "--export", "a=" + disk, "--export", "longer=memory:1536M",
                        "--export", "\x1b[2J\u00e9=memory:1K", "--export", b"\xff=memory:1K")
    rig.same("a table", (0, f"EXPORT       SIZE  CACHE      READONLY  DOWN  CONNECTIONS  PATH\n"
                            f"a         1.0 MiB  writeback  no        no              0  {disk}\n"
                            f"longer    1.5 GiB  -          no        no              0  memory:1536M\n"
                            f"\\x1b[2J\u00e9  1.0 KiB  -          no        no              0  memory:1K\n"
                            f"\\xff      1.0 KiB  -          no        no              0  memory:1K\n", ""),
             vnbdctl("exports", control=control))
    status, out, err = vnbdctl("--json", "--socket", control, "exports")
    rig.same("the same for programs", ["a", "longer", "\x1b[2J\u00e9", "\\xff"], [row["name"] for row in json.loads(out)])
    rig.same("in one line", 1, out.count("\n"))
    rig.same("options stand anywhere, the socket may be an address", (0, out, ""),
             vnbdctl("exports", "--socket=unix:" + control, "--json"))
    rig.same("an empty table has its titles", (0, "NUMBER  EXPORT  SINCE  CLIENT\n", ""), vnbdctl("connections", control=control))
    rig.same("a sentence", (0, f"vnbd-server 0.1, process {server.pid}\n", ""), vnbdctl("version", control=control))
    status, out, err = vnbdctl("help", control=control)
    rig.ok("help is the server's", status == 0 and re.search(r"^connections +The clients", out, re.MULTILINE), out)

    mock = Mock(rig.path("mock"))
    REQUESTS = [
        ("fault add a write every 3: error EIO", "fault-add", {"export": "a", "rule": "write every 3: error EIO"}),
        ("fault add accept: close", "fault-add", {"rule": "accept: close"}),
        ("fault list", "fault-list", {}),
        ("fault list a", "fault-list", {"export": "a"}),
        ("fault remove a 7", "fault-remove", {"export": "a", "id": 7}),
        ("fault remove 7", "fault-remove", {"id": 7}),
        ("fault clear", "fault-clear", {}),
        ("fault clear a", "fault-clear", {"export": "a"}),
        ("fault release", "fault-release", {}),
        ("fault release a", "fault-release", {"export": "a"}),
        ("fault release a 0", "fault-release", {"export": "a", "id": 0}),
        ("powercut a", "powercut", {"export": "a"}),
        ("powercut --keep random a --torn --seed=5 --down 1.5", "powercut",
         {"export": "a", "keep": "random", "torn": 512, "seed": 5, "down": 1.5}),
        ("powercut a --torn=4096", "powercut", {"export": "a", "torn": 4096}),
        ("record a start /tmp/r", "record-start", {"export": "a", "file": "/tmp/r"}),
        ("record a stop", "record-stop", {"export": "a"}),
        ("exports -- ", "exports", {}),
    ]
    for words, command, arguments in REQUESTS:
        mock.result({})
        # A rule is one word.
        split = re.findall(r"\w[\w ]*: .*|\S+", words) if "add" not in words else \
            re.match(r"(fault) (add) (?:(a) )?(.*)", words).groups()
        vnbdctl(*filter(None, split), control=rig.path("mock"))
        rig.same(words, [{"command": command, "arguments": arguments}], mock.asked)
        mock.asked.clear()

    def shown(result, *words):
        mock.result(result)
        return vnbdctl(*words, control=rig.path("mock"))

    rule = {"id": 1, "export": "a", "rule": "write: error EIO", "matched": 1000, "fired": 3}
    rig.same("fault rules", (0, "ID  EXPORT  MATCHED  FIRED  RULE\n 1  a          1000      3  write: error EIO\n", ""),
             shown([rule], "fault", "list"))
    rig.same("a power cut", (0, "kept 1, lost 2, tore 3 of the unflushed writes, by seed 4; the write verifier is 0123 now; "
                              "power is back after 0.3 s\n", ""),
             shown({"kept": 1, "lost": 2, "torn": 3, "seed": 4, "verifier": "0123", "down": 0.3}, "powercut", "a"))
    rig.same("an answer of a newer server", (0, "x: 1\ny: [2,3]\n", ""), shown({"x": 1, "y": [2, 3]}, "fault", "clear"))
    rig.same("rows of a newer server", (0, "ID  EXPORT  MATCHED  FIRED  RULE\n 5  -       -        -      -\n", ""),
             shown([{"id": 5, "new": 1}], "fault", "list"))

    def refused(name, status, why, *words, **where):
        result = vnbdctl(*words, **where)
        rig.ok(name, result[:2] == (status, "") and result[2].startswith(f"vnbdctl: error: {why}\n"), result)

    mock.answers.append(b'{"id":null,"ok":false,"error":"no, \\u001b[1m"}\n')
    refused("a refusal", 1, "no, \\x1b[1m", "exports", control=rig.path("mock"))
    mock.answers.append(b"hello\n")
    refused("an answer that is none", 3, "not JSON: at byte 5: '[' or '{' expected near 'hello'", "exports",
            control=rig.path("mock"))
    mock.answers.append(b'{"id":null,"ok":true')
    refused("a server that ends", 3, rig.path("mock") + ": the server has hung up", "exports", control=rig.path("mock"))
    refused("a server's refusal", 1, "it is not recorded", "record", "a", "stop", control=control)
    refused("nobody there", 3, rig.path("no") + ": No such file or directory", "exports", control=rig.path("no"))
    refused("no socket there", 3, disk + ": Connection refused", "exports", control=disk)
    refused("no command", 2, "the command is missing")
    refused("an unknown command", 2, "there is no such command: 'frob'", "frob")
    refused("half a command", 2, "usage: vnbdctl record EXPORT start FILE, or vnbdctl record EXPORT stop", "record", "a")
    refused("a word too many", 2, "usage: vnbdctl exports", "exports", "a")
    refused("a word too few", 2, "usage: vnbdctl record EXPORT start FILE", "record", "a", "start")
    refused("another command's option", 2, "no such option is known here: '--seed'; usage: vnbdctl exports", "exports",
            "--seed", "1")
    refused("an option twice", 2, "--seed is given twice", "powercut", "a", "--seed", "1", "--seed", "1")
    refused("no number", 2, "--seed: not a number: '-1'", "powercut", "a", "--seed=-1")
    refused("a number that is too large", 2, "ID: not a number: '99999999999999999999'", "fault", "remove", "9" * 20)
    for time in ("inf", "1.2.3", ".", "-1"):
        refused(f"no time: {time}", 2, f"--down: not a number of seconds: '{time}'", "powercut", "a", "--down=" + time)
    refused("an option without its value", 2, "'--down': the argument is missing", "powercut", "a", "--down")

    commands = re.findall(r"^  ([a-z].*)$", vnbdctl("--help")[1].partition("\nCommands:\n")[2], re.MULTILINE)
    rig.ok("--help lists the commands", len(commands) > 10, commands)
    with open(os.path.join(TOP, "conf/vnbdctl.8")) as page:
        manual = page.read()
    items = [re.sub(r"\b(Cm|Ar|Oc|Oo|Op) ", "", item) for item in re.findall(r"^\.It (Cm .*)$", manual, re.MULTILINE)]
    rig.same("the manual has each, in that order", [re.sub(r" \[--.*", " OPTION ...", re.sub(r"\[(\w+)\]", r"\1", command))
                                                   for command in commands], items)

    def completed(line):
        words = line.split(" ")
        script = (f'source "{TOP}/contrib/vnbdctl.bash"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vnbdctl; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        out = subprocess.run(["bash", "-uc", script, "bash", VNBDCTL, *words], capture_output=True, text=True,
                             env={**os.environ, "VNBD_CONTROL": control})
        return sorted(set(out.stdout.split())) + out.stderr.splitlines()

    for line, expected in [("po", ["powercut"]), ("fault ", ["add", "clear", "list", "release", "remove"]),
                           ("fault re", ["release", "remove"]), ("fault list ", ["a", "longer"]), ("fault add l", ["longer"]),
                           ("powercut a --s", ["--seed"]), ("powercut a --keep = none --", ["--down", "--seed", "--torn"]),
                           ("record a ", ["start", "stop"]), ("--json con", ["connections"]),
                           (f"record a start {disk[:-1]}", [disk]), ("exports ", []),
                           (f"--socket = {rig.path('no')} fault list ", []), ("--s", ["--socket"])]:
        rig.same(f"completed: vnbdctl {line}", expected, completed(line))
