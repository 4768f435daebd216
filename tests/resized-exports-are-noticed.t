#!/usr/bin/python3
# If this fails, a disk that was made larger stays as small as it was until the server is restarted, or what was cut off
# a disk reads as something.
import os

from nbd_raw import *
from rig import Rig, wait_until

KIB = 1 << 10
DATA = bytes(range(256)) * 4


def size(server, name):
    """As a client that connects now learns it."""
    with Connection(server.address) as connection:
        return connection.go(name)[0]


def error(connection, command, offset, length=len(DATA)):
    return connection.ask(command, offset, length, data=DATA[:length] if command == CMD_WRITE else b"").error


def keeps(connection, offset):
    """Whether DATA can be written there and read again."""
    return (error(connection, CMD_WRITE, offset), connection.ask(CMD_READ, offset, len(DATA))[1:3]) == (0, (0, DATA))


def past_the_end(connection, end):
    return {name: error(connection, command, end - 512) for name, command in
            (("read", CMD_READ), ("write", CMD_WRITE), ("zero", CMD_WRITE_ZEROES), ("trim", CMD_TRIM), ("cache", CMD_CACHE))}


PAST = {"read": EINVAL, "write": ENOSPC, "zero": ENOSPC, "trim": EINVAL, "cache": EINVAL}

with Rig() as rig:
    modes = ("writeback", "none")
    disks = {mode: rig.disk(mode, "1M") for mode in modes}
    odd, small = rig.disk("odd", "1000777"), rig.disk("small", "3000")
    exports = [("--export", f"{mode}={disks[mode]},cache={mode}") for mode in modes]
    server = rig.server(*sum(exports, ()), "--export", f"odd={odd},cache=none", "--export", f"small={small}")
    for mode in modes:
        with Connection(server.address) as connection:
            rig.same(f"{mode}: its size", 1024 * KIB, connection.go(mode)[0])
            rig.same(f"{mode}: past its end", PAST, past_the_end(connection, 1024 * KIB))

            os.truncate(disks[mode], 3072 * KIB + 100)
            rig.ok(f"{mode}: right after it has grown", keeps(connection, 1024 * KIB))
            rig.ok(f"{mode}: off the grid, too", keeps(connection, 2047 * KIB + 300))
            rig.ok(f"{mode}: to its last block", keeps(connection, 3071 * KIB))
            end = 3072 * KIB + (100 if mode == "writeback" else 0)
            rig.same(f"{mode}: its new size", end, size(server, mode))
            rig.same(f"{mode}: past its new end", PAST, past_the_end(connection, end))
            rig.same(f"{mode}: as large as it was made", 3072 * KIB + 100, os.stat(disks[mode]).st_size)

            os.truncate(disks[mode], 512 * KIB)
            rig.same(f"{mode}: a read right after it has shrunk", EINVAL, error(connection, CMD_READ, 1024 * KIB))
            rig.same(f"{mode}: its size again", 512 * KIB, size(server, mode))
            rig.same(f"{mode}: past its end again", PAST, past_the_end(connection, 512 * KIB))
            rig.ok(f"{mode}: before its end", keeps(connection, 511 * KIB))
            rig.same(f"{mode}: nobody has made it longer", 512 * KIB, os.stat(disks[mode]).st_size)

            os.truncate(disks[mode], 256 * KIB)
            rig.ok(f"{mode}: a shrunk one is noticed by itself",
                   wait_until(lambda: f"export '{mode}' has shrunk to 256.0 KiB" in server.log()))
            rig.same(f"{mode}: and requests know", PAST, past_the_end(connection, 256 * KIB))

    with Connection(server.address) as connection:
        connection.go("odd")
        os.truncate(odd, 2048 * KIB)
        rig.same("O_DIRECT: where a part of a block was the end, it stays the end", 1000777, size(server, "odd"))
        rig.ok("and has its bytes", keeps(connection, 1000777 - len(DATA)))
        os.truncate(odd, 1000700)
        rig.same("it may get shorter", 1000700, size(server, "odd"))
        rig.ok("and has its bytes again", keeps(connection, 1000700 - len(DATA)))
        os.truncate(odd, 8192 + 100)
        rig.same("without it, whole blocks are left", 8192, size(server, "odd"))
    os.truncate(small, 0)
    rig.same("nothing left", 0, size(server, "small"))
    os.truncate(small, 7777)
    rig.same("and something again", 7777, size(server, "small"))
    rig.same("the server ends cleanly", 0, server.stop())
