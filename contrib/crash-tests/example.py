#!/usr/bin/python3
"""example.py -- a crash test in Python, with nbdsh's module: a journal of two blocks, data and then a commit, keeps its promise
if there is a flush between them, and not without it. Every crash state of every moment is looked at."""
import os
import subprocess
import tempfile

import nbd

BUILD = os.path.abspath(os.environ.get("VNBD_BUILD", "build/release"))
DATA, COMMIT, BLOCK = 0, 4096, 4096


def replay(*words):
    return subprocess.run([f"{BUILD}/vnbd-replay", *words], check=True, capture_output=True, text=True).stdout


def figure(text, name):
    """The last number on the line of @text that begins with @name."""
    return int(next(line for line in text.splitlines() if line.startswith(name)).split()[-1])


def write_both(handle, flush_between):
    handle.pwrite(b"D" * BLOCK, DATA)
    if flush_between:
        handle.flush()
    handle.pwrite(b"C" * BLOCK, COMMIT)


def broken_states(record, folder):
    """States in which the commit is there and the data is not; and how many there were."""
    image, broken, looked_at = f"{folder}/state", 0, 0
    for moment in range(figure(replay("count", record), "moment") + 1):
        at = ("--at", f"entry:{moment}")
        for state in range(figure(replay("count", *at, record), "states")):
            replay("image", "--empty", *at, "--crash", f"enumerate:{state}", "--output", image, record)
            with open(image, "rb") as file:
                content = file.read()
            broken += content[COMMIT:COMMIT + 1] == b"C" and content[DATA:DATA + 1] != b"D"
            looked_at += 1
    return broken, looked_at


def test(folder, name, flush_between):
    record = f"{folder}/{name}.record"
    handle = nbd.NBD()
    handle.connect_systemd_socket_activation([f"{BUILD}/vnbd-server", "--export", f"=memory:1M,record={record}"])
    write_both(handle, flush_between)
    handle.shutdown()
    print("%s: %d broken of %d states" % (name, *broken_states(record, folder)))


with tempfile.TemporaryDirectory() as folder:
    test(folder, "with a flush", True)
    test(folder, "without", False)
