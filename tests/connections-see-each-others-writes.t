#!/usr/bin/python3
# If this fails, a client with several connections (nbdcopy, the Linux nbd driver, vnbd-client) reads old data back, or its
# flush on one connection leaves writes of the others behind: the server must not promise NBD_FLAG_CAN_MULTI_CONN then.
import os
import random
import threading

from nbd_raw import *
from rig import Rig

WORKERS = 4
BLOCK = 4096
MODES = ("writeback", "writethrough", "none", "directsync", "unsafe")


def ping_pong(a, b, rounds, places):
    """A write that is answered on one connection is what the other reads next, whatever its place and length."""
    for i in range(rounds):
        offset, length = places.randrange(1 << 20), places.randrange(1, 3 * BLOCK)
        data = places.randbytes(length)
        if a.ask(CMD_WRITE, offset, length, cookie=i, data=data).error:
            return f"write {i} failed"
        if b.ask(CMD_READ, offset, length, cookie=i).data != data:
            return f"read {i} of {length} bytes at {offset} returned something else"
        a, b = b, a
    return None


def neighbours(address, export, index, count, rounds, problems):
    """Writes every count-th run of odd bytes: the neighbours in the same blocks are other threads'."""
    places = random.Random(index)
    with Connection(address) as c:
        c.go(export)
        run = 1000
        for i in range(rounds):
            offset = (4 << 20) + (places.randrange(200) * count + index) * run
            data = bytes([index + 1]) * run
            if c.ask(CMD_WRITE, offset, run, cookie=i, data=data).error:
                problems.append(f"connection {index}: a write failed")
            got = c.ask(CMD_READ, offset, run, cookie=i).data
            if got != data:
                problems.append(f"connection {index}: {offset} was overwritten by a neighbour")


def scan(path, count):
    """Every run holds its owner's bytes throughout, or none."""
    with open(path, "rb") as disk:
        disk.seek(4 << 20)
        data = disk.read(200 * count * 1000)
    for i in range(0, len(data), 1000):
        if data[i:i + 1000] not in (bytes(1000), bytes([i // 1000 % count + 1]) * 1000):
            return f"run {i // 1000} is torn"
    return None


with Rig() as rig:
    exports = []
    for mode in MODES:
        exports += ["--export", f"{mode}={rig.disk(mode, '8M')},cache={mode}"]
    try:
        server = rig.server("--workers", str(WORKERS), *exports)
    except RuntimeError as why:
        rig.ok("all modes are served", False, why)
        raise SystemExit
    for mode in MODES:
        connections = [Connection(server.address) for _ in range(WORKERS)]
        flags = [c.go(mode)[1] for c in connections]
        rig.ok(f"{mode}: the server promises it", all(f & 1 << 8 for f in flags))
        places = random.Random(mode)
        wrong = next(filter(None, (ping_pong(a, b, 60, places) for a, b in zip(connections, connections[1:]))), None)
        rig.same(f"{mode}: what one connection wrote, the others read", None, wrong)
        ok = all(c.ask(CMD_WRITE, (2 << 20) + i * BLOCK, BLOCK, data=bytes([i + 1]) * BLOCK).error == 0
                 for i, c in enumerate(connections))
        rig.ok(f"{mode}: a flush on one connection covers the writes of all", ok and
               connections[0].ask(CMD_FLUSH).error == 0)
        with open(rig.path(mode), "rb") as disk:
            disk.seek(2 << 20)
            rig.same(f"{mode}: they are in the file", b"".join(bytes([i + 1]) * BLOCK for i in range(WORKERS)),
                     disk.read(WORKERS * BLOCK))
        problems = []
        threads = [threading.Thread(target=neighbours, args=(server.address, mode, i, WORKERS, 100, problems))
                   for i in range(WORKERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        connections[0].ask(CMD_FLUSH)
        rig.same(f"{mode}: neighbours inside one block, written at the same time, are all kept", ([], None),
                 (problems[:3], scan(rig.path(mode), WORKERS)))
        for c in connections:
            c.close()
