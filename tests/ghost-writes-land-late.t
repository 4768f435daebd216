#!/usr/bin/python3
# A ghost is a write of a connection that has died, and that reaches the disk some time later.
# If this fails, a client that sends a write again, on another connection, is not tested against the old one undoing it.
import os
import signal
import time

import nbd
from rig import Rig, wait_until

NEW, OLD = b"n" * 4096, b"o" * 4096


def dial(server, export=""):
    handle = nbd.NBD()
    handle.connect_uri(server.uri(export))
    return handle


def dies(operation, *arguments):
    try:
        operation(*arguments)
    except nbd.Error as error:
        return error.errno == "ENOTCONN"
    return False


def content(path, length=4096, offset=0):
    with open(path, "rb") as disk:
        disk.seek(offset)
        return disk.read(length)


with Rig() as rig:
    path = rig.disk("disk", "1M")
    server = rig.server("--export", f"={path},fault=write once: ghost 700ms", "--export",
                        f"slow={rig.disk('slow', '1M')},fault=write zero: ghost 1h",
                        "--export", f"fua={rig.disk('fua', '1M')},fault=write once: ghost 100ms")
    begun = time.monotonic()
    doomed = dial(server)
    rig.ok("the connection dies, without a reply", dies(doomed.pwrite, OLD, 0))
    successor = dial(server)
    successor.pwrite(NEW, 0)
    successor.flush()
    early = bytes(successor.pread(4096, 0))
    rig.ok("a new one writes, and reads what it wrote", early == NEW or time.monotonic() - begun > 0.7)
    landed = wait_until(lambda: bytes(successor.pread(4096, 0)) == OLD)
    rig.ok("then the ghost lands", landed and time.monotonic() - begun >= 0.7)
    rig.ok("through the export's own way", content(path) == OLD)
    rig.ok("once: the next write is one", successor.pwrite(NEW, 0) is None and content(path) == NEW)

    handle = dial(server, "fua")
    rig.ok("with FUA", dies(handle.pwrite, OLD, 0, nbd.CMD_FLAG_FUA))
    rig.ok("it lands as well", wait_until(lambda: content(rig.path("fua")) == OLD))

    for number in range(20):
        dies(dial(server, "slow").pwrite, OLD, number * 4096)
    other = dial(server, "slow")
    rig.ok("twenty wait for an hour, and harm nobody", bytes(other.pread(1 << 17, 0)) == bytes(1 << 17))
    del other
    rig.same("the server does not wait for them when it ends", 0, server.stop())
    rig.same("they land then", OLD * 20, content(rig.path("slow"), 20 * 4096))
