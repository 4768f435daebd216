#!/usr/bin/python3
# If this fails, clients can take all the memory of the storage node, whose kernel then kills the server of everybody; or
# one that stalls keeps the others from what memory there is.
import os
import resource
import selectors
import sys
import time

from nbd_raw import *
from rig import BUILD, Rig, wait_until

MIB = 1 << 20
SANITIZED = "san" in os.path.basename(BUILD)  # memory is kept in quarantine, and shadowed

# server/limits.h
RESERVE, RECEIVE, REST = 256 << 10, 256 << 10, 200 << 10
POOL = 64 * MIB
WORKERS = 2

# Zeroes would be read as holes: replies that fill no socket, at a megabyte's worth of the server's CPU time each.
PAYLOAD = memoryview(os.urandom(32 * MIB))


def resident(server):
    with open(f"/proc/{server.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) << 10


def bound(memory, connections):
    """Of what is above the server's memory at its start."""
    return memory + WORKERS * POOL + connections * (RESERVE + RECEIVE + REST)


class Greedy:
    """Sends requests as fast as the server takes them, and reads nothing."""

    def __init__(self, address, command, length, structured=False):
        self.connection = Connection(address)
        self.connection.go(structured=structured)
        self.connection.socket.setblocking(False)
        self.header = request_bytes(command, 0, length)
        self.payload = PAYLOAD[:length] if command == CMD_WRITE else b""
        self.sent = 0

    def push(self):
        """Returns bytes that were taken; 0: none now."""
        total = len(self.header) + len(self.payload)
        at = self.sent % total
        try:
            if at < len(self.header):
                taken = self.connection.socket.send(self.header[at:])
            else:
                taken = self.connection.socket.send(self.payload[at - len(self.header):])
        except BlockingIOError:
            return 0
        except OSError:
            return 0
        self.sent += taken
        return taken


def highest_memory(server, clients, seconds):
    """While they push for so long."""
    selector = selectors.DefaultSelector()
    for client in clients:
        selector.register(client.connection.socket, selectors.EVENT_WRITE, client)
    highest, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        for key, _ in selector.select(0.1):
            if not key.data.push():
                time.sleep(0)
        highest = max(highest, resident(server))
    return highest


def longest_wait(address):
    """Of 50 small reads."""
    longest = 0
    with Connection(address) as c:
        c.go()
        for i in range(50):
            start = time.monotonic()
            c.ask(CMD_READ, i * 4096, 4096, cookie=i)
            longest = max(longest, time.monotonic() - start)
    return longest


def works(address):
    return longest_wait(address) < TIMEOUT_S


def mib(bytes_):
    return f"{bytes_ / MIB:.0f} MiB"


with Rig() as rig:
    many = ["--workers", str(WORKERS), "--connections", "2000", "--connections-per-address", "2000"]
    disk = "=" + rig.disk("disk", "64M", fill=True)

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    count = min(1000, files - 100)
    server = rig.server(*many, "--export", disk)
    before = resident(server)
    idle = []
    for _ in range(count):
        idle.append(Connection(server.address))
        idle[-1].go()
    each = (resident(server) - before) / count
    print(f"# {count} idle connections: {each / 1024:.1f} KiB each")
    rig.ok(f"{count} idle connections take 6 KiB each at most", each < (6 << 10) or SANITIZED, f"{each:.0f} bytes")
    rig.ok("all of them work", all(c.ask(CMD_READ, 0, 4096).error == 0 for c in idle))
    for c in idle:
        c.request(CMD_READ, 0, 65536)
    for c in idle:
        c.reply()
    each = (resident(server) - before) / count
    print(f"# after a read of 64 KiB: {each / 1024:.1f} KiB each")
    rig.ok("and may have done so", resident(server) - before < bound(0, count) or SANITIZED, mib(resident(server)))
    for c in idle:
        c.close()
    server.stop()

    # Short of memory: 100 connections ask for several GiB of it.
    for what, command, length, structured in (
            ("writes of 32 MiB", CMD_WRITE, 32 * MIB, False), ("reads of 32 MiB", CMD_READ, 32 * MIB, False),
            ("structured reads of 1 MiB", CMD_READ, MIB, True), ("errors", 77, 0, True)):
        server = rig.server(*many, "--memory", "256M", "--export", disk)
        before = resident(server)
        clients = [Greedy(server.address, command, length, structured) for _ in range(100)]
        grown = highest_memory(server, clients, 2) - before
        most = bound(256 * MIB, 100)
        print(f"# 100 connections with {what}: {mib(grown)} more, of {mib(most)}; {mib(sum(c.sent for c in clients))} sent")
        rig.ok(f"100 clients with {what}, that take no replies, are kept within their bound",
               grown < most or SANITIZED, f"{mib(grown)} of {mib(most)}")
        longest = longest_wait(server.address)
        rig.ok("small requests of others do not wait for them", longest < 3, f"one took {longest:.1f} s")
        for client in clients:
            client.connection.close()
        rig.ok("all of it is left when they go",
               wait_until(lambda: server.descriptors() < 50) and works(server.address))
        rig.same("the server ends as it should", 0, server.stop())

    # All memory is held by clients in the middle of a payload, and by some that take no replies.
    server = rig.server(*many, "--memory", "64M", "--export", disk)
    stalled = []
    for i in range(20):
        c = Connection(server.address)
        c.go()
        c.request(CMD_WRITE, 0, 4 * MIB, data=bytes(1000))
        stalled.append(c)
    c = Connection(server.address)
    c.go()
    start = time.monotonic()
    rig.same("a small write goes through", 0, c.ask(CMD_WRITE, 0, 4096, data=bytes(4096)).error)
    rig.ok("at once", time.monotonic() - start < 3)
    data = os.urandom(8 * MIB)
    rig.same("a large one waits, and goes through", 0, c.ask(CMD_WRITE, 0, len(data), data=data).error)
    took = time.monotonic() - start
    print(f"# it waited {took:.1f} s")
    rig.ok("when those who stall have been given up", 5 < took < 19, f"after {took:.1f} s")
    rig.ok("which the log says", "the client stalls, and others wait for the memory that it holds" in server.log())
    rig.ok("and has been written", c.ask(CMD_READ, 0, len(data)).data == data)
    c.close()
    for c in stalled:
        c.close()
    idle = Connection(server.address)
    idle.go()
    idle.request(CMD_WRITE, 0, 4 * MIB, data=bytes(1000))
    rig.ok("one that stalls while nobody waits is left alone", works(server.address) and not time.sleep(1) and
           idle.socket.fileno() >= 0)
    idle.send(bytes(4 * MIB - 1000))
    rig.same("and goes on when it likes", 0, idle.reply().error)
    rig.same("the server ends as it should", 0, server.stop())
