#!/usr/bin/python3
# If this fails, a reply that is ready while those before it leave waits until somebody else stirs the worker: what has
# left is no reason for it to wake up, but what has to follow is.
from nbd_raw import *
from rig import Rig

SMALL_RECEIVE = 4096  # bytes that the server takes at once from a client that was idle
HEADER = 28
READS = 20  # so many at once go to the disk's queue, and end a turn later
ALONE = 100  # requests after which the worker takes the client for its only one, and begins all that came at once
PATIENCE_S = 10


def answered(c, count):
    """Whether the server answers @count requests."""
    c.socket.settimeout(PATIENCE_S)
    try:
        return all(c.reply() for _ in range(count))
    except TimeoutError:
        return False


with Rig() as rig:
    disk = rig.disk("disk", "1M", fill=True)
    server = rig.server("--workers", "1", "--export", f"={disk},readonly")
    with Connection(server.address) as c:
        c.go()
        for _ in range(ALONE):
            c.ask(CMD_READ, 0, 512)
        for late in (1, 2, 100):
            # What is wrong is answered at once: some with the first reads, and some while the replies to the last ones leave.
            count = SMALL_RECEIVE // HEADER + late
            c.expected = {n: 512 for n in range(count)}
            c.send(b"".join(request_bytes(CMD_READ, 0 if n < READS else 2 << 20, 512, n) for n in range(count)))
            rig.ok(f"all of {count} requests are answered, {late} behind those that are received first", answered(c, count))
            c.ask(CMD_READ, 0, 512)
