#!/usr/bin/python3
# If this fails, one client that hangs (a stopped virtual machine, a full pipe) hangs every other client of the server, or
# makes it keep data for it without end.
import time

from nbd_raw import *
from rig import Rig

SIZE = 64 << 20


def memory_kb(server):
    with open(f"/proc/{server.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


with Rig() as rig:
    server = rig.server("--workers", "1", "--export", "=" + rig.disk("disk", "64M"))
    other = Connection(server.address)
    other.go()
    before_kb = memory_kb(server)
    slow = []
    for _ in range(3):  # each asks for 2 GiB and takes nothing of it
        client = Connection(server.address)
        client.go()
        client.socket.settimeout(0.3)
        asked = 0
        try:
            while asked < 2000:
                client.request(CMD_READ, 0, 1 << 20, asked)
                asked += 1
        except TimeoutError:
            pass
        slow.append((client, asked))

    worst = 0
    right = True
    for i in range(500):
        start = time.monotonic()
        right = right and other.ask(CMD_READ, i * 4096, 4096, cookie=i).data == bytes(4096)
        worst = max(worst, time.monotonic() - start)
    rig.ok("500 reads beside three clients that take no replies", right)
    rig.ok("none of them waits", worst < 2, f"the longest took {worst:.3f} s")
    written = all(other.ask(CMD_WRITE, 0, 1 << 20, cookie=i, data=bytes(1 << 20)).error == 0 for i in range(20))
    rig.ok("20 writes and a flush as well", written and other.ask(CMD_FLUSH).error == 0)
    grown = memory_kb(server) - before_kb
    rig.ok("what is kept for each is bounded", grown < 3 * (80 << 10), f"{grown} KiB more")

    for client, _ in slow:
        client.socket.settimeout(TIMEOUT_S)
    woken, asked = slow[0]
    replies = [woken.reply() for _ in range(asked)]
    rig.ok("a slow client that wakes up finds all of its replies in good order",
           all(r.error == 0 and r.data == bytes(1 << 20) for r in replies) and
           {r.cookie for r in replies} == set(range(asked)))
    for client, _ in slow:
        client.close()
    other.disconnect()
    rig.same("the server ends as it should", 0, server.stop())
