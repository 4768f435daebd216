#!/usr/bin/python3
# If this fails, a base that many disks share is written, or a disk over it loses what it was given when its server is
# restarted or killed, or shows another's data.
import json
import os
import subprocess

from nbd_raw import *
from rig import BUILD, Rig, skip_all

try:
    import nbd
except ImportError:
    skip_all("no python3-libnbd")

MIB = 1 << 20


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)


def refused(rig, *exports):
    """What the server says that does not start."""
    server = run(os.path.join(BUILD, "vnbd-server"), "--listen", "unix:" + rig.path("never"),
                 *(word for export in exports for word in ("--export", export)))
    return server.stdout if server.returncode else "it started"


def write_some(connection, value):
    """Whole blocks, parts of two, and zeroes; returns what of the disk they are. Two of them are in the base's hole."""
    spots = {64 * 4096: bytes([value]) * 8192, 100 * 4096 + 1000: bytes([value]) * 5000, 200 * 4096 + 7: bytes(30),
             32 * 4096: bytes(65536), 300 * 4096: bytes([value]) * 4096, 400 * 4096 + 1: bytes([value]) * 100}
    for offset, data in spots.items():
        zeroes = not any(data)
        reply = connection.ask(CMD_WRITE_ZEROES if zeroes else CMD_WRITE, offset, len(data), data=b"" if zeroes else data)
        assert reply.error == 0
    return spots


def with_spots(base, spots):
    out = bytearray(base)
    for offset, data in spots.items():
        out[offset:offset + len(data)] = data
    return bytes(out)


with Rig() as rig:
    base, kept, other = rig.path("base"), rig.path("kept"), rig.path("other")
    original = os.urandom(MIB) + bytes(MIB) + os.urandom(MIB) + b"a part of a block"
    with open(base, "wb") as file:
        file.write(original[:MIB])
        file.seek(2 * MIB)
        file.write(original[2 * MIB:])
    made = os.stat(base)
    exports = ("--export", f"kept={base},overlay={kept}", "--export", f"gone={base},overlay=temporary",
               "--export", f"stable={base},overlay={other},cache=writethrough", "--export", f"base={base},readonly")
    server = rig.server(*exports)
    names = ("kept", "gone", "stable")
    for name in names:
        copy = rig.path(name + ".copy")
        rig.same(f"{name}: nbdcopy reads the base through it", 0, run("nbdcopy", server.uri(name), copy).returncode)
        rig.ok(f"{name}: all of it", contents(copy) == original)
    with Connection(server.address) as connection:
        size, flags = connection.go("kept")
        rig.same("it has the base's size, takes writes, FUA and flushes, and many connections", (len(original), 0x0D, 0x100),
                 (size, flags & 0x0F, flags & 0x100))
        rig.ok("and has taken no room", os.stat(kept).st_blocks * 512 < 128 << 10, os.stat(kept).st_blocks)
    wanted = {}
    for name in names:
        with Connection(server.address) as one, Connection(server.address) as two:
            one.go(name)
            two.go(name)
            wanted[name] = with_spots(original, write_some(one, len(name)))
            rig.ok(f"{name}: what one connection writes another reads",
                   two.ask(CMD_READ, 0, len(original)).data == wanted[name])
    rig.ok("each has its own", len(set(wanted.values())) == 2 and wanted["kept"] == wanted["gone"])
    with Connection(server.address) as connection:
        connection.go("base")
        rig.ok("the base, exported beside them, is as it was", connection.ask(CMD_READ, 0, len(original)).data == original)

    extents = json.loads(run("qemu-img", "map", "--output=json", "-f", "raw", server.uri("kept")).stdout)
    block = 4096
    rig.same("block status tells data and holes of both", [
        (0, 32 * block, True), (32 * block, 16 * block, False), (48 * block, 208 * block, True),
        (256 * block, 44 * block, False), (300 * block, block, True), (301 * block, 99 * block, False),
        (400 * block, block, True), (401 * block, 111 * block, False), (512 * block, MIB + 17, True)],
        [(extent["start"], extent["length"], extent["data"]) for extent in extents[:9]])  # QEMU rounds the end up
    rig.same("qemu-io gets on with it", 0, run(
        "qemu-io", "-f", "raw", server.uri("kept"), "-c", "write -P 9 2M 64k", "-c", "flush", "-c", "read -P 9 2M 64k",
        "-c", "discard 2M 64k", "-c", "write -f -P 8 2M 4k", "-c", "read -P 8 2M 4k", "-c", "write -z -u 2M 64k",
        "-c", "read -P 0 2M 64k", "-c", "write -P 7 2M 64k").returncode)
    wanted["kept"] = with_spots(wanted["kept"], {2 * MIB: b"\7" * (64 << 10)})

    rig.ok("nobody else writes the base meanwhile",
           run("qemu-io", "-f", "raw", base, "-c", "write 0 512").returncode != 0)
    rig.ok("nor the overlay", run("qemu-io", "-f", "raw", kept, "-c", "write 0 512").returncode != 0)

    server.process.kill()
    server.process.wait()
    server = rig.server(*exports)
    wanted["gone"] = original
    for name in names:
        copy = rig.path(name + ".killed")
        run("nbdcopy", server.uri(name), copy)
        rig.ok(f"{name}: after the server was killed", contents(copy) == wanted[name])

    client = nbd.NBD()
    client.connect_uri(server.uri("kept"))
    client.pwrite(b"n" * 10000, 300 * 4096 + 5)
    client.zero(MIB, 2 * MIB)
    rig.ok("libnbd writes, without a flush", client.pread(10000, 300 * 4096 + 5) == b"n" * 10000)
    client.shutdown()
    wanted["kept"] = with_spots(wanted["kept"], {300 * 4096 + 5: b"n" * 10000, 2 * MIB: bytes(MIB)})
    rig.same("the server ends", 0, server.stop())
    server = rig.server(*exports)
    for name in names:
        copy = rig.path(name + ".ended")
        run("nbdcopy", server.uri(name), copy)
        rig.ok(f"{name}: after its end", contents(copy) == wanted[name])
    rig.same("the server ends again", 0, server.stop())
    rig.ok("the base is as it was, byte for byte, and nobody has touched it",
           contents(base) == original and os.stat(base).st_mtime_ns == made.st_mtime_ns)

    stranger = rig.disk("stranger", "3145745")
    rig.ok("an overlay of another base is refused", "belongs to another base" in refused(rig, f"x={stranger},overlay={kept}"))
    rig.ok("of another size too", "belongs to a base of 3145745 bytes" in refused(rig, f"x={rig.disk('large', '4M')},overlay={kept}"))
    rig.ok("a file that is none", f"{stranger}: is neither an overlay" in refused(rig, f"x={base},overlay={stranger}"))
    rig.ok("one overlay for two exports", "in use: by another export" in refused(
        rig, f"x={base},overlay={kept}", f"y={base},overlay={kept}"))
    rig.ok("a base that another export writes", "in use: by another export" in refused(rig, f"x={base}", f"y={base},overlay={kept}"))
    rig.ok("and the other way round", "in use: by another export" in refused(rig, f"y={base},overlay={kept}", f"x={base}"))
    rig.ok("modes that bypass the page cache",
           "bypasses the page cache, which an overlay needs" in refused(rig, f"x={base},overlay={kept},cache=none"))
    rig.ok("an overlay that is readonly", "'overlay' takes writes" in refused(rig, f"x={base},overlay={kept},readonly"))
    os.utime(base, ns=(made.st_atime_ns, made.st_mtime_ns + 1))
    rig.ok("a base that was written meanwhile", "last written at" in refused(rig, f"x={base},overlay={kept}"))
