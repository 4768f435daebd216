#!/usr/bin/python3
# What a fault rule does to data and to time, seen by a client and on the disk.
# If this fails, software is tested against another failure than the one that its tests name.
import time

import nbd
from rig import Rig, wait_until

SECTOR = 512
ERRORS = ["EPERM", "EIO", "ENOMEM", "EINVAL", "ENOSPC", "EOVERFLOW", "ENOTSUP", "ESHUTDOWN"]
PATTERN = b"".join(b"%08d" % i * (SECTOR // 8) for i in range(2048))  # 1 MiB: each sector tells its number


def dial(server, export=""):
    handle = nbd.NBD()
    handle.connect_uri(server.uri(export.replace(" ", "%20")))
    return handle


def error_of(operation, *arguments):
    try:
        operation(*arguments)
    except nbd.Error as error:
        return error.errno
    return None


def seconds(operation, *arguments):
    begun = time.monotonic()
    operation(*arguments)
    return time.monotonic() - begun


def sectors(data):
    return [data[i:i + SECTOR] for i in range(0, len(data), SECTOR)]


def differing(data, expected):
    """Numbers of the sectors that are not as expected."""
    return [i for i, (one, other) in enumerate(zip(sectors(data), sectors(expected))) if one != other]


class Disks:
    """Exports of files of PATTERN, with one rule each."""

    def __init__(self, rig, rules):
        self.paths, arguments = {}, []
        for name, rule in rules.items():
            self.paths[name] = rig.path(name)
            with open(self.paths[name], "wb") as disk:
                disk.write(PATTERN)
            arguments += ["--export", f"{name}={self.paths[name]},fault={rule}"]
        self.server = rig.server(*arguments)

    def dial(self, name):
        return dial(self.server, name)

    def bytes(self, name):
        with open(self.paths[name], "rb") as disk:
            return disk.read()


def delays(rig):
    rules = {"fixed": "read: delay 200ms", "uniform": "read: delay uniform 100ms 200ms",
             "normal": "read: delay normal 300ms 1ms", "pareto": "read: delay pareto 100ms 50"}
    least = {"fixed": 0.2, "uniform": 0.1, "normal": 0.25, "pareto": 0.1}
    disks = Disks(rig, rules)
    for name, rule in rules.items():
        handle = disks.dial(name)
        waited = seconds(handle.pread, SECTOR, 0)
        rig.ok(f"{rule}: waits, and is answered then", waited >= least[name], waited)
        rig.ok(f"{rule}: others do not", any(seconds(handle.pwrite, bytes(SECTOR), 0) < least[name] for _ in range(20)))
    handle = disks.dial("fixed")
    buffers = [nbd.Buffer(SECTOR) for _ in range(20)]
    begun = time.monotonic()
    for buffer in buffers:
        handle.aio_pread(buffer, 0)
    while handle.aio_in_flight():
        handle.poll(-1)
    rig.ok("delayed requests wait beside each other", 0.2 <= time.monotonic() - begun < 3.5)


def answered_s(handle, count):
    """How long each of as many reads takes that are sent at once, in order."""
    begun, came = time.monotonic(), []
    for _ in range(count):
        handle.aio_pread(nbd.Buffer(SECTOR), 0, lambda _: came.append(time.monotonic() - begun) or 1)
    while len(came) < count:
        handle.poll(-1)
    return came


def distributions(rig):
    """Of 30 delays, that the longest is so much longer than the shortest. (A busy machine may answer several at once.)"""
    rules = {"wide": ("read: delay uniform 10ms 300ms", 0.01, 0.2), "bell": ("read: delay normal 300ms 60ms", 0.06, 0.12),
             "tail": ("read: delay pareto 30ms 1.5", 0.03, 0.12)}
    disks = Disks(rig, {name: rule for name, (rule, *_) in rules.items()})
    for name, (rule, least, spread) in rules.items():
        for _ in range(5):
            came = answered_s(disks.dial(name), 30)
            if came[-1] - came[0] >= spread:
                break
        rig.ok(f"{rule}: some wait long, and some do not", came[0] >= least and came[-1] - came[0] >= spread, came)


def limits(rig):
    disks = Disks(rig, {"rate": "read: rate 20", "bandwidth": "data: bandwidth 1M", "shared": "read: rate 20"})
    handle = disks.dial("rate")
    waited = seconds(lambda: [handle.pread(SECTOR, 0) for _ in range(11)])
    rig.ok("20 requests a second: ten more take half a second", waited >= 0.5, waited)
    both = disks.dial("shared"), disks.dial("shared")
    waited = seconds(lambda: [both[number % 2].pread(SECTOR, 0) for number in range(11)])
    rig.ok("of all connections together", waited >= 0.5, waited)
    handle = disks.dial("bandwidth")
    waited = seconds(lambda: [handle.pread(1 << 18, 0), handle.pwrite(bytes(1 << 18), 0), handle.pread(1, 0)])
    rig.ok("1 MiB a second: half of one takes half a second", waited >= 0.5, waited)


def errors(rig):
    disks = Disks(rig, {name: f"write: error {name}" for name in ERRORS})
    for name in ERRORS:
        handle = disks.dial(name)
        rig.same(f"error {name}", name, error_of(handle.pwrite, bytes(SECTOR), 0))
        rig.ok(f"error {name}: and nothing is written", disks.bytes(name) == PATTERN)


def lost_writes(rig):
    disks = Disks(rig, {"drop": "write: drop", "drop zero": "zero: drop", "misdirect": "write: misdirect 64K",
                        "round": "write: misdirect 512K", "full": "write: full 8K", "far": "write 0-512: misdirect 1M"})
    handle = disks.dial("drop")
    handle.pwrite(bytes(4096), 0)
    rig.ok("drop: reported done, and nowhere", disks.bytes("drop") == PATTERN and handle.pread(4096, 0) == PATTERN[:4096])
    disks.dial("drop zero").zero(4096, 0)
    rig.ok("drop: so with zeroes", disks.bytes("drop zero") == PATTERN)
    disks.dial("misdirect").pwrite(bytes(4096), 4096)
    expected = PATTERN[:4096 + 65536] + bytes(4096) + PATTERN[8192 + 65536:]
    rig.ok("misdirect: the bytes are elsewhere", disks.bytes("misdirect") == expected)
    disks.dial("round").pwrite(bytes(SECTOR), (1 << 20) - SECTOR)
    got = disks.bytes("round")
    rig.ok("misdirect: behind the end it goes on at the start",
           len(got) == 1 << 20 and got.count(bytes(SECTOR)) == 1 and got[-SECTOR:] == PATTERN[-SECTOR:])
    handle = disks.dial("full")
    rig.same("full: so many bytes fit, and no more", [None, None, "ENOSPC", "ENOSPC"],
             [error_of(handle.pwrite, bytes(length), 0) for length in (4096, 4095, 2, 4096)])
    rig.same("full: what fits still does", None, error_of(handle.pwrite, b"x", 0))


def torn_writes(rig):
    disks = Disks(rig, {"tear": "write: tear 512", "silent": "write: tear silently 4K"})
    handle = disks.dial("tear")
    rig.same("tear: reported as an error", "EIO", error_of(handle.pwrite, bytes(4096), 8192))
    changed = differing(disks.bytes("tear"), PATTERN)
    rig.ok("tear: the first sectors are written, and not all", changed == list(range(16, 16 + len(changed))) and
           1 <= len(changed) < 8, changed)
    rig.same("tear: a sector is never torn", None, error_of(handle.pwrite, bytes(SECTOR), 0))
    disks.dial("silent").pwrite(bytes(16384), 0)
    changed = differing(disks.bytes("silent"), PATTERN)
    rig.ok("tear silently: reported done, and torn at its sectors", len(changed) in (8, 16, 24) and
           changed == list(range(len(changed))), changed)


def corrupted_reads(rig):
    disks = Disks(rig, {"bits": "read: corrupt bits 3", "sector": "read: corrupt sector",
                        "old": "read 64K-128K: corrupt old"})
    data = disks.dial("bits").pread(4096, 4096)
    flipped = sum(bin(a ^ b).count("1") for a, b in zip(data, PATTERN[4096:8192]))
    rig.same("corrupt bits: as many as were asked for", 3, flipped)
    data = disks.dial("sector").pread(1 << 16, 1 << 16)
    wrong = differing(data, PATTERN[1 << 16:1 << 17])
    rig.ok("corrupt sector: one is of another place", len(wrong) == 1 and sectors(data)[wrong[0]] in sectors(PATTERN),
           wrong)
    with open(rig.path("two"), "wb") as disk:
        disk.write(PATTERN[:2 * SECTOR])
    handle = dial(rig.server("--export", f"={rig.path('two')},fault=read: corrupt sector"))
    rig.same("corrupt sector: never of its own place", [sectors(PATTERN)[1], sectors(PATTERN)[0]] * 20,
             [bytes(handle.pread(SECTOR, SECTOR * (number % 2))) for number in range(40)])
    handle = disks.dial("old")
    rig.ok("corrupt old: what nobody has written is as it is", handle.pread(1 << 17, 0) == PATTERN[:1 << 17])
    handle.pwrite(b"1" * 8192, (64 << 10) + 1000)
    handle.pwrite(b"2" * 8192, (64 << 10) - 4096)
    handle.zero(4096, 120 << 10)
    disks.dial("old").trim(4096, 124 << 10)
    rig.ok("corrupt old: reads get what was there before", handle.pread(64 << 10, 64 << 10) == PATTERN[64 << 10:128 << 10])
    rig.same("corrupt old: where it is asked for, alone", b"2" * 4096, bytes(handle.pread(4096, 60 << 10)))
    rig.ok("corrupt old: the disk has the new", disks.bytes("old")[68 << 10:(68 << 10) + 4096] == b"2" * 4096 or
           disks.bytes("old")[64 << 10:68 << 10] == b"2" * 4096)
    rig.ok("corrupted reads leave the disk alone", disks.bytes("bits") == PATTERN == disks.bytes("sector"))


def lies(rig):
    """An overlay's file gets its map at a flush, and with every FUA."""
    paths = {name: rig.path(name + ".overlay") for name in ("flush", "fua")}
    server = rig.server(
        "--export", f"flush={rig.disk('base1', '1M')},overlay={paths['flush']},fault=flush once: lie",
        "--export", f"fua={rig.disk('base2', '1M')},overlay={paths['fua']},fault=write once: lie")

    def overlay(name):
        with open(paths[name], "rb") as file:
            return file.read()

    handle = dial(server, "flush")
    handle.pwrite(b"x" * 4096, 0)
    before = overlay("flush")
    handle.flush()
    lied = overlay("flush")
    handle.flush()
    rig.ok("lie: a flush is reported done, and is not", before == lied != overlay("flush"))
    handle = dial(server, "fua")
    handle.pwrite(b"x" * 4096, 0)
    before = overlay("fua")
    handle.pwrite(b"x" * 4096, 0, nbd.CMD_FLAG_FUA)
    lied = overlay("fua")
    handle.pwrite(b"x" * 4096, 0, nbd.CMD_FLAG_FUA)
    rig.ok("lie: FUA is forgotten", before == lied != overlay("fua"))


def silence(rig):
    disks = Disks(rig, {"hold": "write once: hold", "hole": "read once: blackhole"})
    for name, start in (("hold", lambda h: h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(SECTOR)), 0)),
                        ("hole", lambda h: h.aio_pread(nbd.Buffer(SECTOR), 0))):
        handle = disks.dial(name)
        cookie = start(handle)
        handle.pread(SECTOR, 4096)
        handle.flush()
        rig.same(f"{name}: no answer, and others go on", False, handle.aio_command_completed(cookie))
    rig.ok("hold: the write is on the disk", wait_until(lambda: differing(disks.bytes("hold"), PATTERN) == [0]))
    rig.same("the server ends, for all that", 0, disks.server.stop())


with Rig() as rig:
    for part in (delays, distributions, limits, errors, lost_writes, torn_writes, corrupted_reads, lies, silence):
        part(rig)
