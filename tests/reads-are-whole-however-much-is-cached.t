#!/usr/bin/python3
# A read is answered at once from the page cache, or by the disk, or begins here and ends there.
# If this fails, a guest reads wrong data where a part of it has left the page cache.
import os
import random

from nbd_raw import *
from rig import Rig

SIZE = 8 << 20
chance = random.Random(3)


def cool(path, start, length):
    """Takes these pages out of the page cache, if its filesystem lets them go."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, start, length, os.POSIX_FADV_DONTNEED)
    os.close(fd)


with Rig() as rig:
    path = rig.disk("disk", "8M", fill=True)
    with open(path, "rb") as disk:
        data = disk.read()
    server = rig.server("--export", "=" + path)
    with Connection(server.address) as c:
        c.go()
        for name, start, length in (("all is cold", 0, 0), ("the end is cold", 4 << 20, 0), ("the start is cold", 0, 4 << 20),
                                    ("the middle is cold", 3 << 20, 2 << 20)):
            cool(path, 0, 0)
            for round_ in range(3):  # warm, cold, and with what the last miss has taught
                c.ask(CMD_READ, 0, SIZE)
                cool(path, start, length)
                rig.ok(f"{name}: one large read", c.ask(CMD_READ, 0, SIZE).data == data)
                cool(path, start, length)
                spans = [(o, min(chance.randrange(1, 200000), SIZE - o)) for o in
                         (chance.randrange(SIZE) for _ in range(60))]
                for cookie, (offset, count) in enumerate(spans):
                    c.request(CMD_READ, offset, count, cookie)
                replies = [c.reply() for _ in spans]
                rig.ok("  and sixty at odd places", all(
                    reply.error == 0 and reply.data == data[spans[reply.cookie][0]:][:spans[reply.cookie][1]]
                    for reply in replies))
