#!/usr/bin/python3
# If this fails, an operator reads of an option that does not exist, or never hears of one that does.
import glob
import os
import re
import subprocess

from rig import BUILD, TESTS, Rig

TOP = os.path.dirname(TESTS)
PROGRAMS = {"vnbd-server": "server/vnbd-server.8", "vnbd-client": "client/vnbd-client.8", "vnbdctl": "conf/vnbdctl.8",
            "vnbd-replay": "cache/vnbd-replay.8"}


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True)
    return result.returncode, result.stdout, result.stderr


def manual_text(path):
    """The page as a reader sees it."""
    return re.sub(r".\x08", "", run("mandoc", "-T", "utf8", "-O", "width=200", path)[1])


def options_of_manual(path):
    """Long options that begin an item of the page's lists."""
    with open(path) as page:
        return set(re.findall(r"^\.It Fl (?:\w , Fl )?(?:Fl |-)([a-z][a-z-]+)", page.read(), re.MULTILINE))


with Rig() as rig:
    for page in glob.glob(os.path.join(TOP, "*", "*.[57]")):
        rig.same(f"{os.path.basename(page)}: mandoc finds nothing wrong", (0, ""),
                 run("mandoc", "-T", "lint", "-W", "warning", page)[:2])
    for program, page in PROGRAMS.items():
        path = os.path.join(TOP, page)
        if not rig.ok(f"{program} has a manual: {page}", os.path.exists(path)):
            continue
        status, out, err = run(os.path.join(BUILD, program), "--help")
        rig.ok(f"{program} --help succeeds, on stdout", status == 0 and out and not err, err)
        said = set(re.findall(r"^ {2,8}(?:-\w, )?--([a-z][a-z-]*)|\[--([a-z]+)", out, re.MULTILINE))
        said = {option or of_command for option, of_command in said}
        text = manual_text(path)
        told = options_of_manual(path)
        rig.ok(f"{program} --help tells of options", len(said) > 1, out)
        rig.same(f"{program}: the manual has an item for each option of --help, and no other", sorted(said), sorted(told))
        rig.ok(f"{program}: each is in the text that is read", all("--" + option in text for option in said),
               [option for option in said if "--" + option not in text])
        rig.same(f"{program}: its lines fit a terminal", [], [line for line in out.splitlines() if len(line) > 100])
        for short in re.findall(r"^ {2,8}-(\w), --", out, re.MULTILINE):
            rig.ok(f"{program}: -{short} is in the manual", re.search(rf"(?<![\w-])-{short}\b", text))
        rig.same(f"{page}: mandoc finds nothing wrong", (0, ""), run("mandoc", "-T", "lint", "-W", "warning", path)[:2])
        status, out, err = run(os.path.join(BUILD, program), "--version")
        rig.ok(f"{program} --version", status == 0 and re.fullmatch(program + r" \d+\.\d+\S*\n", out), out + err)
