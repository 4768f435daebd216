#!/usr/bin/python3
# If this fails, a client takes a request that cannot succeed for a broken disk or a lost server (or the other way round),
# or one bad request costs it the connection, and everything in flight with it.
import os

from nbd_raw import *
from rig import Rig

SIZE = 1 << 20
MAX = 32 << 20
# what, request (command, offset, length, flags), data, the error that proto.md's "Error values" and request types want
ON_ANY = [
    ("a read past the end", (CMD_READ, SIZE - 4096, 8192), EINVAL),
    ("a read that begins past the end", (CMD_READ, SIZE + 4096, 4096), EINVAL),
    ("a read whose end is beyond 2^64", (CMD_READ, 2**64 - 4096, 8192), EINVAL),
    ("a read longer than the largest payload", (CMD_READ, 0, MAX + 1), EINVAL),
    ("a read of 4 GiB - 1", (CMD_READ, 0, 2**32 - 1), EINVAL),
    ("a read of nothing", (CMD_READ, 4096, 0), EINVAL),
    ("a cache request past the end", (CMD_CACHE, SIZE, 4096), EINVAL),
    ("a block status without a metadata context", (CMD_BLOCK_STATUS, 0, 4096), EINVAL),
    ("an unknown command", (1234, 0, 4096), EINVAL),
    ("the largest numbers there are", (65535, 2**64 - 1, 2**32 - 1, 65535), EINVAL),
    ("a flag of BLOCK_STATUS", (CMD_READ, 0, 4096, FLAG_REQ_ONE), EINVAL),
    ("an unknown flag", (CMD_READ, 0, 4096, 0x8000), EINVAL),
    ("a flag of another command", (CMD_READ, 0, 4096, FLAG_NO_HOLE), EINVAL),
    ("a flush with a range", (CMD_FLUSH, 4096, 4096), EINVAL),
]
ON_WRITABLE = [
    ("a write past the end", (CMD_WRITE, SIZE - 4096, 8192), ENOSPC),
    ("a write that begins past the end", (CMD_WRITE, SIZE + 4096, 4096), ENOSPC),
    ("a write whose end is beyond 2^64", (CMD_WRITE, 2**64 - 512, 1024), ENOSPC),
    ("a write of nothing", (CMD_WRITE, 4096, 0), EINVAL),
    ("a write with an unknown flag", (CMD_WRITE, 0, 4096, 0x8000), EINVAL),
    ("a write with the flag of a read", (CMD_WRITE, 0, 4096, FLAG_DF), EINVAL),
    ("zeroes past the end", (CMD_WRITE_ZEROES, SIZE - 4096, 8192), ENOSPC),
    ("zeroes of 4 GiB - 1", (CMD_WRITE_ZEROES, 4096, 2**32 - 1), ENOSPC),
    ("a trim past the end", (CMD_TRIM, SIZE - 4096, 8192), EINVAL),
    ("a trim with a flag of write zeroes", (CMD_TRIM, 0, 4096, FLAG_NO_HOLE), EINVAL),
]
ON_READONLY = [
    ("a write", (CMD_WRITE, 0, 4096), EPERM),
    ("a write with FUA", (CMD_WRITE, 0, 4096, FLAG_FUA), EPERM),
    ("zeroes", (CMD_WRITE_ZEROES, 0, 4096), EPERM),
    ("a trim", (CMD_TRIM, 0, 4096), EPERM),
]


def check(rig, connection, about, rows, first):
    """Every row is answered as it should be, and after each the connection still reads what is there."""
    for what, request, error in rows:
        command, offset, length, flags = (*request, 0)[:4]
        data = b"x" * length if command == CMD_WRITE else b""
        reply = connection.ask(command, offset, length, cookie=7, flags=flags, data=data)
        after = connection.ask(CMD_READ, 0, 4096, cookie=8)
        rig.same(f"{about}: {what}", (7, error, 0, first), (reply.cookie, reply.error, after.error, after.data))
        if connection.structured:
            rig.ok(f"{about}: {what}: the error has words", reply.words, reply)


with Rig() as rig:
    disk = rig.disk("disk", "1M", fill=True)
    with open(disk, "rb") as file:
        first = file.read(4096)
    server = rig.server("--export", "w=" + disk, "--export", "r=" + disk + ",readonly")
    for structured in (False, True):
        kind = "structured" if structured else "simple"
        with Connection(server.address) as connection:
            connection.go("w", structured=structured)
            check(rig, connection, f"{kind}, writable", ON_ANY + ON_WRITABLE, first)
            df = connection.ask(CMD_READ, 0, 4096, flags=FLAG_DF)
            rig.same(f"{kind}: DF is " + ("taken" if structured else "refused"), 0 if structured else EINVAL, df.error)
        with Connection(server.address) as connection:
            connection.go("r", structured=structured)
            check(rig, connection, f"{kind}, readonly", ON_ANY + ON_READONLY, first)
            rig.same(f"{kind}, readonly: a flush does no harm", 0, connection.ask(CMD_FLUSH).error)
    for structured in (False, True):
        kind = "structured" if structured else "simple"
        with Connection(server.address) as connection:
            connection.go("w", structured=structured)
            os.truncate(disk, SIZE // 2)
            rig.same(f"{kind}: what the disk has lost is past the end", EINVAL, connection.ask(CMD_READ, SIZE - 8192, 4096).error)
            rig.same(f"{kind}: of that request alone", [0, 0],
                     [connection.ask(command, 0, length).error for command, length in ((CMD_READ, 4096), (CMD_FLUSH, 0))])
            os.truncate(disk, SIZE)
            rig.same(f"{kind}: and it is over when the disk has it again", (0, bytes(4096)),
                     connection.ask(CMD_READ, SIZE - 8192, 4096)[1:3])
    with open(disk, "rb") as file:
        rig.same("nothing that was refused has reached the disk", first, file.read(4096))
