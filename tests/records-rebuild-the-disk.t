#!/usr/bin/python3
# A recorded export can be rebuilt as it was at any flush, and as it may be after a power cut, from what several clients did
# to it, though its server was killed meanwhile; and the cache mode decides what is certain.
# If this fails, people's crash tests look at states that no disk was ever in.
import json
import os
import random
import resource
import signal
import subprocess

from nbd_raw import *
from rig import BUILD, Rig

SIZE, BLOCK = 1 << 20, 4096


def replay(*words):
    return subprocess.run([os.path.join(BUILD, "vnbd-replay"), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=60)


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def image(rig, record, *words):
    """The image that vnbd-replay makes; what it says where it does not."""
    made = replay("image", *words, "--output", rig.path("image"), record)
    return contents(rig.path("image")) if made.returncode == 0 else made.stdout


def entries(record):
    return [json.loads(line) for line in replay("list", "--json", record).stdout.splitlines() if line[0] == "{"]


def work(connections, base, steps, seed):
    """Writes, zeroes and flushes on several connections, one after the other; returns the disk after each flush."""
    draw, disk, after_flush = random.Random(seed), bytearray(base), []
    for step in range(steps):
        connection = draw.choice(connections)
        offset, length = draw.randrange(SIZE - 9 * BLOCK), draw.randrange(1, 8 * BLOCK)
        if step % 5 == 4:
            assert connection.ask(CMD_FLUSH).error == 0
            after_flush.append(bytes(disk))
            continue
        zero = step % 7 == 3
        data = bytes(length) if zero else bytes([1 + step % 255]) * length
        reply = connection.ask(CMD_WRITE_ZEROES if zero else CMD_WRITE, offset, length, data=b"" if zero else data)
        assert reply.error == 0
        disk[offset:offset + length] = data
    return bytes(disk), after_flush


def open_export(server, name=""):
    connection = Connection(server.address)
    connection.go(name)
    return connection


def record_of(rig, mode, steps):
    """A record of an export with that cache mode, and the disk as its clients have left it."""
    path, record = rig.disk(mode, "1M"), rig.path(mode + ".record")
    server = rig.server("--export", f"={path},cache={mode},record={record}")
    with open_export(server) as one:
        last, _ = work([one], bytes(SIZE), steps, 1)
    server.stop()
    return record, last


with Rig() as rig:
    disk, base, record = rig.disk("disk", "1M", fill=True), rig.path("base"), rig.path("record")
    original = contents(disk)
    with open(base, "wb") as file:
        file.write(original)
    server = rig.server("--workers", "2", "--export", f"={disk},record={record}")
    with open_export(server) as one, open_export(server) as two:
        last, after_flush = work([one, two], original, 60, 7)
        server.stop(signal.SIGKILL)
    rig.ok("everything that a client was told of is in the record of a killed server",
           image(rig, record, "--base", base, "--crash", "all") == last == contents(disk))
    rig.same("each flush is a boundary where the disk is certain", [True] * len(after_flush),
             [image(rig, record, "--base", base, "--at", f"flush:{i + 1}") == then for i, then in enumerate(after_flush)])
    before_flush = ("--base", base, "--at", "entry:118", "--torn", "512", "--crash")  # four writes are open
    rig.ok("the same seed makes the same state", image(rig, record, *before_flush, "seed:3") ==
           image(rig, record, *before_flush, "seed:3"))
    rig.ok("another seed makes another one", len({image(rig, record, *before_flush, f"seed:{i}") for i in range(9)}) > 2)
    rig.ok("an image is as sparse as the disk", os.stat(rig.path("image")).st_size == SIZE)
    rig.ok("info counts the flushes", f"flush boundaries  {len(after_flush)}\n" in replay("info", record).stdout,
           replay("info", record).stdout)
    rig.same("each: the program succeeds in every state", 0,
             replay("each", "--base", base, "--count", "8", "--output", rig.path("each"), record, "--", "test", "-s").returncode)
    failing = replay("each", "--base", base, "--count", "8", "--output", rig.path("each"), record, "--", "sh", "-c",
                     'echo "found in $VNBD_STATE"; test $VNBD_STATE -lt 3')
    rig.ok("or it ends with the first that does not, and shows it", failing.returncode == 3 and "found in 3" in failing.stdout and
           "states checked  3\n" in failing.stdout and "--at entry:" in failing.stdout, failing.stdout)

    through, last = record_of(rig, "writethrough", 8)
    rig.ok("writethrough: every write is certain", image(rig, through, "--empty") == last)
    rig.ok("writethrough: because each has FUA", all(entry["fua"] for entry in entries(through)
                                                     if entry["event"] == "submitted" and entry["op"] in ("write", "zero")))
    unsafe, last = record_of(rig, "unsafe", 8)
    rig.ok("unsafe: nothing is", image(rig, unsafe, "--empty") == bytes(SIZE))
    rig.ok("unsafe: because there are no flushes", all(entry["op"] != "flush" for entry in entries(unsafe)))

    again = subprocess.run([os.path.join(BUILD, "vnbd-server"), "--listen", "unix:" + rig.path("never"), "--export",
                            f"={disk},record={record}"], stderr=subprocess.PIPE, text=True, timeout=20)
    rig.ok("a record is never written over", again.returncode == 1 and f"{record}: open: File exists" in again.stderr, again.stderr)

    control = rig.path("control")
    server = rig.server("--control", "unix:" + control, "--export", f"a={disk}", "--export-dir", rig.folder)

    def ctl(*words):
        done = subprocess.run([os.path.join(BUILD, "vnbdctl"), "--socket", control, "--json", "record", *words],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
        return json.loads(done.stdout) if done.returncode == 0 else done.stdout

    begun, part = contents(disk), rig.path("part.record")
    with open(base, "wb") as file:
        file.write(begun)
    with open_export(server, "a") as one, open_export(server, "a") as two:
        rig.same("an operator starts a record while clients are there", part, ctl("a", "start", part)["file"])
        last, _ = work([one, two], begun, 20, 9)
        rig.ok("one is enough", "already" in ctl("a", "start", rig.path("other")))
        stopped = ctl("a", "stop")
        rig.same("and stops it", (part, os.path.getsize(part), 20), (stopped["file"], stopped["bytes"], stopped["requests"]))
        one.ask(CMD_WRITE, 0, 3, data=b"off")
    rig.ok("what is between is in it", image(rig, part, "--base", base, "--crash", "all") == last)
    rig.ok("there is nothing to stop then", "not recorded" in ctl("a", "stop"))
    rig.ok("a file of a directory is not recorded", "directory" in ctl("base", "start", rig.path("other")))

    short = rig.path("short.record")
    with open_export(server, "a") as one:
        ctl("a", "start", short)
        one.ask(CMD_WRITE, 0, BLOCK, data=b"1" * BLOCK)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (os.path.getsize(short) + BLOCK, resource.RLIM_INFINITY))
        rig.same("a record that cannot grow any more fails no request", [0, 0, 0],
                 [one.ask(CMD_WRITE, 0, BLOCK, data=b"2" * BLOCK).error for _ in range(3)])
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        rig.ok("its end is told", f"{short}: the recording had ended after 1 requests: File too large" in ctl("a", "stop"))
    rig.ok("and it is whole up to there", [entry["event"] for entry in entries(short)] == ["submitted", "completed"],
           replay("info", short).stdout)
    rig.ok("info tells what was recorded, and how it was cached", replay("info", short).stdout.startswith(
        "export            'a'\ncache mode        writeback\ndisk              1048576 bytes, in blocks of 1\n"),
        replay("info", short).stdout)
    rig.ok("whichever mode that was", "\ncache mode        writethrough\n" in replay("info", through).stdout)

    for words, why in [
            (("image", "--base", part, "-o", rig.path("image"), record), "bytes, and the disk had 1048576"),
            (("image", "--empty", "--at", "flush:99", "-o", rig.path("image"), record), "12 flushes were answered"),
            (("image", "--empty", "--at", "entry:999", "-o", rig.path("image"), record), "there are 120 entries"),
            (("image", "--empty", "--crash", "enumerate:99999999", "-o", rig.path("image"), record), "there are states 0 to"),
            (("image", "--empty", "-o", "/nowhere/image", record), "/nowhere/image: No such file or directory"),
            (("image", "--empty", "-o", record, record), f"{record}: is the record, which would be overwritten"),
            (("image", "--base", base, "-o", base, record), f"{base}: is the base, which would be overwritten"),
            (("info", disk), "not a record"), (("info", rig.folder), "not a record"),
            (("info", rig.path("nothing")), "No such file or directory")]:
        refused = replay(*words)
        rig.ok(f"{words[0]}: {why}", refused.returncode == 1 and why in refused.stdout, refused.stdout)
    rig.ok("and nothing was", len(contents(base)) == SIZE and "entries           120" in replay("info", record).stdout)
    no_moment, no_state = "not end, flush:N or entry:N", "not none, all, seed:N or enumerate:N"
    for option, value, why in [("--at", "noon", no_moment), ("--at", "end:1", no_moment), ("--at", "flush:", "not a number: ''"),
                               ("--from", "entry:x", "not a number: 'x'"), ("--crash", "some", no_state),
                               ("--crash", "seed", no_state), ("--crash", "enumerate:-1", "not a number: '-1'"),
                               ("--torn", "1024", "not 512 or 4096")]:
        refused = replay("image", "--empty", option, value, "-o", rig.path("image"), record)
        rig.ok(f"{option} {value}: {why}", refused.returncode == 2 and f"{option} {value}: {why}" in refused.stdout, refused.stdout)
