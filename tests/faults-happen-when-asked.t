#!/usr/bin/python3
# If this fails, a test suite tries its software against failures at other moments than it believes.
import time

import nbd
from rig import Rig, wait_until

SECTOR = 512
BASE_ALLOCATION = "base:allocation"
OPERATIONS = {
    "read": lambda h: h.pread(SECTOR, 0),
    "write": lambda h: h.pwrite(bytes(SECTOR), 0),
    "flush": lambda h: h.flush(),
    "trim": lambda h: h.trim(SECTOR, 0),
    "zero": lambda h: h.zero(SECTOR, 0),
    "cache": lambda h: h.cache(SECTOR, 0),
    "status": lambda h: h.block_status(SECTOR, 0, lambda *_: 0),
}
GROUPS = {"data": {"read", "write"}, "any": set(OPERATIONS), "write flush": {"write", "flush"}}


def dial(server, export, uri=None):
    handle = nbd.NBD()
    handle.add_meta_context(BASE_ALLOCATION)
    handle.connect_uri(uri or server.uri(export))
    return handle


def fails(handle, operation):
    try:
        operation(handle)
    except nbd.Error as error:
        if error.errno != "EIO":
            raise
        return True
    return False


def pattern(handle, operations):
    """A letter each: '.' done, 'X' failed."""
    return "".join("X" if fails(handle, operation) else "." for operation in operations)


def read(offset=0, length=SECTOR):
    return lambda h: h.pread(length, offset)


# For reads of one sector each, unless there are others: rules, requests, which of them fail.
CASES = [
    ("every third", "read every 3: error EIO", [read()] * 7, "..X..X."),
    ("the first three left out", "read after 3: error EIO", [read()] * 5, "...XX"),
    ("every second behind the first three", "read after 3 every 2: error EIO", [read()] * 8, "....X.X."),
    ("once", "read once: error EIO", [read()] * 3, "X.."),
    ("twice", "read times 2: error EIO", [read()] * 4, "XX.."),
    ("always", "read always: error EIO", [read()] * 3, "XXX"),
    ("the fourth alone", "read after 3 once: error EIO", [read()] * 6, "...X.."),
    ("with certainty", "read p 1: error EIO", [read()] * 3, "XXX"),
    ("hardly ever", "read p 0.000000001: error EIO", [read()] * 20, "." * 20),
    ("a range, up to its edges", "read 4K-8K: error EIO",
     [read(4096 - SECTOR), read(4096 - SECTOR, 2 * SECTOR), read(4096), read(8192 - 1, 1), read(8192), read(0, 65536)],
     ".XXX.X"),
    ("from a place on", "read 64K-: error EIO", [read(65535, 1), read(65535, 2), read(1 << 19)], ".XX"),
    ("a range by its length", "read 1K+1K: error EIO", [read(512), read(1024), read(1536), read(2048)], ".XX."),
    ("no flush has a range", "any 0-1M: error EIO", [OPERATIONS["flush"], read()], ".X"),
    ("what is not meant is not counted", "read 0-512 every 2: error EIO",
     [read(), read(4096), OPERATIONS["write"], read(), read(4096), read()], "...X.."),
    ("another operation's data", "write: error EIO", [read(), OPERATIONS["write"], read()], ".X."),
]


def exports():
    rules = {f"op {word}": f"{word}: error EIO" for word in [*OPERATIONS, *GROUPS]}
    rules |= {name: rule for name, rule, *_ in CASES}
    rules["late"] = "read after 700ms: error EIO"
    rules["half"] = "read p 0.5 seed 7: error EIO"
    rules["second connection"] = "read connection 2: error EIO"
    rules["tcp"] = "read from 127.0.0.0/8: error EIO"
    rules["unix"] = "read from unix: error EIO"
    rules["nobody"] = "read from 10.0.0.0/8: error EIO"
    return [word for name, rule in rules.items() for word in ("--export", f"{name}=memory:1M,fault={rule}")]


def uri(export):
    return export.replace(" ", "%20").replace(",", "%2C")


def second_connection(rig, server):
    first, second, third = (dial(server, uri("second connection")) for _ in range(3))
    rig.same("the second connection alone", ".X.", "".join(pattern(h, [read()]) for h in (first, second, third)))


with Rig() as rig:
    begun = time.monotonic()
    server = rig.server("--listen", "127.0.0.1:0", *exports())
    port, = server.ports()
    second_connection(rig, server)  # the first that connect
    late = dial(server, "late")
    came = wait_until(lambda: fails(late, read()))
    rig.ok("after a time, and not before", came and time.monotonic() - begun >= 0.7, time.monotonic() - begun)

    for word in [*OPERATIONS, *GROUPS]:
        handle = dial(server, uri(f"op {word}"))
        failed = {name for name, operation in OPERATIONS.items() if fails(handle, operation)}
        rig.same(f"operation: {word}", GROUPS.get(word, {word}), failed)
    for name, rule, requests, expected in CASES:
        rig.same(f"{name} ({rule})", expected, pattern(dial(server, uri(name)), requests))

    half = pattern(dial(server, "half"), [read()] * 200)
    rig.ok("with probability one half", 60 < half.count("X") < 140, half)
    got = {name: (pattern(dial(server, name), [read()]),
                  pattern(dial(server, name, f"nbd://127.0.0.1:{port}/{name}"), [read()]))
           for name in ("tcp", "unix", "nobody")}
    rig.same("this client's address alone", {"tcp": (".", "X"), "unix": ("X", "."), "nobody": (".", ".")}, got)
    rig.same("the server ends in order", 0, server.stop())

    with open(rig.path("config"), "w") as config:
        config.write("[generic]\nfault = handshake connection 2: error SHUTDOWN\n"
                     "[a]\nexportname = memory:1M\nfault = read every 2: error EIO\nfault = flush: error EIO\n")
    server = rig.server("--config", rig.path("config"))
    handle = dial(server, "a")
    rig.same("from a configuration", ".X.X", pattern(handle, [read(), OPERATIONS["flush"], OPERATIONS["write"], read()]))
    try:
        dial(server, "a")
        refused = "not refused"
    except nbd.Error as error:
        refused = str(error)
    rig.ok("the server's own, too", "a fault rule refuses this" in refused or "SHUTDOWN" in refused, refused)
    rig.same("and no more than it says", ".", pattern(dial(server, "a"), [read()]))
