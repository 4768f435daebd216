#!/usr/bin/python3
# If this fails, space that a guest gives back stays taken, space that it was promised is not there, zeroes are not zeroes,
# or one of the commands damages what lies beside it, in some cache mode.
import os

from nbd_raw import *
from rig import Rig

MODES = ("writeback", "writethrough", "none", "directsync", "unsafe")
MIB = 1 << 20
METADATA = 32768  # the file system's own blocks count, too


def allocated(path):
    return os.stat(path).st_blocks * 512


def both_ways(c, offset, length):
    """What is there, and that the byte in front and the one behind are still the filling."""
    data = c.ask(CMD_READ, offset - 1, length + 2).data
    return data[1:-1], data[:1] + data[-1:] == b"##"


with Rig() as rig:
    paths = {mode: rig.disk(mode, "16M") for mode in MODES}
    server = rig.server(*(f"--export={mode}={path},cache={mode}" for mode, path in paths.items()))
    for mode, path in paths.items():
        c = Connection(server.address)
        _, flags = c.go(mode, structured=True)
        rig.same(f"{mode}: a filling of 16 MiB", 0, c.ask(CMD_WRITE, 0, 16 * MIB, data=b"#" * (16 * MIB)).error)
        c.ask(CMD_FLUSH)
        for fua in (0, FLAG_FUA):
            about = f"{mode}, FUA" if fua else mode
            base = 8 * MIB if fua else 0
            at = base + 4096
            rig.same(f"{about}: write", (0, (b"w" * 8192, True)),
                     (c.ask(CMD_WRITE, at, 8192, flags=fua, data=b"w" * 8192).error, both_ways(c, at, 8192)))
            before = allocated(path)
            at = base + MIB
            rig.same(f"{about}: zeroes", (0, (bytes(MIB), True)),
                     (c.ask(CMD_WRITE_ZEROES, at, MIB, flags=fua).error, both_ways(c, at, MIB)))
            rig.ok(f"{about}: zeroes give their space back", allocated(path) <= before - MIB + METADATA,
                   f"{before} before, {allocated(path)} after")
            before = allocated(path)
            at = base + 3 * MIB
            rig.same(f"{about}: zeroes that keep their space", (0, (bytes(MIB), True)),
                     (c.ask(CMD_WRITE_ZEROES, at, MIB, flags=fua | FLAG_NO_HOLE).error, both_ways(c, at, MIB)))
            rig.ok(f"{about}: and do keep it", abs(allocated(path) - before) <= METADATA,
                   f"{before} before, {allocated(path)} after")
            at = base + 4 * MIB + 4096
            reply = c.ask(CMD_WRITE_ZEROES, at, MIB, flags=fua | FLAG_FAST_ZERO)
            rig.ok(f"{about}: fast zeroes, or a refusal that has done nothing", both_ways(c, at, MIB) ==
                   ({0: bytes(MIB), ENOTSUP: b"#" * MIB}.get(reply.error), True), reply)
            at = base + 5 * MIB + 12345
            rig.same(f"{about}: zeroes off the grid", (0, (bytes(54321), True)),
                     (c.ask(CMD_WRITE_ZEROES, at, 54321, flags=fua).error, both_ways(c, at, 54321)))
            before = allocated(path)
            at = base + 6 * MIB
            rig.same(f"{about}: trim", (0, True), (c.ask(CMD_TRIM, at, MIB, flags=fua).error, both_ways(c, at, MIB)[1]))
            rig.ok(f"{about}: a trim gives space back", allocated(path) <= before - MIB + METADATA,
                   f"{before} before, {allocated(path)} after")
            at = base + 7 * MIB + 777
            rig.same(f"{about}: a trim off the grid spares its neighbours", (0, True),
                     (c.ask(CMD_TRIM, at, 33333, flags=fua).error, both_ways(c, at, 33333)[1]))
            rig.same(f"{about}: read, cache and flush", [0, 0, 0],
                     [c.ask(command, *where, flags=fua).error for command, where in
                      ((CMD_READ, (0, 512)), (CMD_CACHE, (0, 8 * MIB)), (CMD_FLUSH, (0, 0)))])
        rig.same(f"{mode}: the size is what it was", 16 * MIB, os.path.getsize(path))
        c.close()
