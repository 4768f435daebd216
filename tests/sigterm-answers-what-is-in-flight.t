#!/usr/bin/python3
# If this fails, every restart of the server (an upgrade, say) costs its clients writes that were under way, or an
# administrator has to remove socket files by hand before the next start.
import os
import select
import signal
import socket
import time

from nbd_raw import *
from rig import Rig, wait_until

IN_FLIGHT = 300
LENGTH = 65536


def busy(address):
    """A connection with IN_FLIGHT writes sent in full, and none of the replies taken."""
    c = Connection(address)
    c.go()
    for cookie in range(IN_FLIGHT):
        c.request(CMD_WRITE, cookie * LENGTH, LENGTH, cookie, FLAG_FUA if cookie % 8 == 0 else 0,
                  bytes([cookie & 255]) * LENGTH)
    return c


def stuffed(address):
    """A connection that asks for more than the server keeps, takes nothing, and is in the middle of a write."""
    c = Connection(address)
    c.go()
    c.socket.settimeout(0.5)
    try:
        for cookie in range(3000):
            c.request(CMD_READ, 0, 1 << 20, cookie)
    except TimeoutError:
        pass
    c.socket.settimeout(TIMEOUT_S)
    select.select([c.socket], [], [], TIMEOUT_S)  # the server has begun
    return c


def on_disk(path, cookies):
    with open(path, "rb") as disk:
        for cookie in cookies:
            disk.seek(cookie * LENGTH)
            if disk.read(LENGTH) != bytes([cookie & 255]) * LENGTH:
                return False
    return True


with Rig() as rig:
    for number in (signal.SIGTERM, signal.SIGINT):
        name = number.name
        disk = rig.disk(name, "32M")
        server = rig.server("--listen", "127.0.0.1:0", "--export", "=" + disk)
        tcp = ("127.0.0.1", server.ports()[0])
        idle = Connection(server.address)
        idle.go()
        greeted = Connection(server.address)
        greeted.greet()
        over_unix, over_tcp = busy(server.address), busy(tcp)
        unread = [("Unix", stuffed(server.address)), ("TCP", stuffed(tcp))]
        halfway = Connection(server.address)
        halfway.go()
        halfway.request(CMD_WRITE, 0, 1 << 20, data=bytes(1000))
        start = time.monotonic()
        server.process.send_signal(number)
        # None of them closes its end, however long ago it has seen ours.
        rig.same(f"{name}: clients without a whole request are hung up on", [True] * 3,
                 [c.closed() for c in (idle, greeted, halfway)])
        for how, c in (("Unix", over_unix), ("TCP", over_tcp)):
            got = replies_until_end(c)
            rig.ok(f"{name}: over {how}, what was in flight is answered, each write once and without an error",
                   got and set(got.values()) == {0}, f"{len(got)} of {IN_FLIGHT} answered: {set(got.values())}")
            rig.ok(f"{name}: over {how}, what was answered is on the disk", on_disk(disk, got))
        for how, c in unread:
            got = replies_until_end(c)
            rig.ok(f"{name}: over {how}, replies that the client takes only now arrive, whole, and then the end",
                   got and set(got.values()) == {0}, f"{len(got)} replies: {set(got.values())}")
        rig.same(f"{name}: the exit status", 0, wait_until(lambda: server.process.poll() is not None) and
                 server.process.returncode)
        took = time.monotonic() - start
        rig.ok(f"{name}: without waiting for its deadline", took < 8, f"{took:.1f} s")
        rig.ok(f"{name}: the socket's file is gone", not os.path.exists(server.path))
        for c in (idle, greeted, halfway, over_unix, over_tcp, *(c for _, c in unread)):
            c.close()

    server = rig.server("--export", "=" + rig.disk("s", "1M"))
    silent = stuffed(server.address)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    rig.ok("a client that takes nothing holds the end up", server.process.poll() is None)
    rig.same("a second signal does not wait for it", 1, server.stop())
    silent.close()

    server = rig.server("--export", "=" + rig.disk("d", "1M"))
    with Connection(server.address) as c:
        c.go()
        for cookie in range(100):
            c.request(CMD_WRITE, cookie * 4096, 4096, cookie, data=b"d" * 4096)
        c.disconnect()
        got = replies_until_end(c)
        rig.same("a client that disconnects gets the replies to all it has asked for", {i: 0 for i in range(100)}, got)
    with Connection(server.address) as c:
        c.go()
        for cookie in range(100):
            c.request(CMD_READ, cookie * 4096, 4096, cookie)
        c.socket.shutdown(socket.SHUT_WR)
        got = replies_until_end(c)
        rig.same("so does one that just stops sending", {i: 0 for i in range(100)}, got)

    server = rig.server("--export", "=" + rig.disk("k", "1M"))
    server.stop(signal.SIGKILL)
    rig.ok("a killed server leaves its socket's file", os.path.exists(server.path))
    rig.servers[-1:] = []  # the next one takes the same path
    again = rig.server("--export", "=" + rig.path("k"))
    with Connection(again.address) as c:
        rig.same("the next one replaces it", 1 << 20, c.go()[0])
