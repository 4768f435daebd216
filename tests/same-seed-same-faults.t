#!/usr/bin/python3
# The same seed and the same requests give the same faults: on another server, with other workers, beside other connections.
# If this fails, a failure that a test has found once is never found again.
import nbd
from rig import Rig

SECTOR = 512
RULES = {
    "error": "read p 0.3 seed {}: error EIO",
    "bits": "read p 0.5 seed {}: corrupt bits 5",
    "sector": "read seed {}: corrupt sector",
    "tear": "write seed {}: tear silently 512",
}

FAILED = "......X.......X.X...X...X...X..XX...XXX..X..X..X...XX...X.X."  # reads of "error", with seed 7


def dial(server, export):
    handle = nbd.NBD()
    handle.connect_uri(server.uri(export))
    return handle


def reads(handle):
    got = []
    for number in range(60):
        try:
            got.append(bytes(handle.pread(4096, number % 16 * 4096)))
        except nbd.Error as error:
            got.append(error.errno)
    return got


def writes(handle):
    for number in range(16):
        handle.pwrite(bytes([65 + number]) * 4096, number * 4096)
    return bytes(handle.pread(1 << 16, 0))


def outcome(rig, workers, seed, beside):
    disks = {}
    for name in RULES:
        disks[name] = rig.path(f"{name}{len(rig.servers)}")
        with open(disks[name], "wb") as disk:
            disk.write(b"".join(b"%08d" % i * (SECTOR // 8) for i in range(128)))
    server = rig.server("--workers", str(workers), "--export", "idle=memory:1M",
                        *(word for name, rule in RULES.items() for word in (
                            "--export", f"{name}={disks[name]},fault={rule.format(seed)}")))
    others = [dial(server, "idle") for _ in range(beside)]
    for other in others:
        other.pread(SECTOR, 0)
    got = {name: (writes if name == "tear" else reads)(dial(server, name)) for name in RULES}
    rig.same("the server ends in order", 0, server.stop())
    return got


with Rig() as rig:
    first = outcome(rig, 1, 7, 0)
    again = outcome(rig, 4, 7, 5)
    other = outcome(rig, 1, 8, 0)
    for name in RULES:
        rig.ok(f"{name}: the same seed, the same faults", first[name] == again[name])
        rig.ok(f"{name}: another seed, others", first[name] != other[name])
    failed = "".join("X" if type(one) is str else "." for one in first["error"])
    rig.same("and on every machine", FAILED, failed)
