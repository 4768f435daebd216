#!/usr/bin/python3
# If this fails, a client that disconnects in good order does not learn what became of its last writes, or the connections
# of clients that left pile up on the server.
import socket
import time

from nbd_raw import *
from rig import Rig, wait_until

COUNT = 100


with Rig() as rig:
    disk = rig.disk("disk", "64M", fill=True)
    server = rig.server("--listen", "127.0.0.1:0", "--export", "=" + disk)
    for how, address in (("Unix", server.address), ("TCP", ("127.0.0.1", server.ports()[0]))):
        c = Connection(address)
        c.go()
        for cookie in range(1, COUNT + 1):
            c.request((CMD_WRITE, CMD_READ)[cookie % 2], cookie * 4096, 4096, cookie,
                      data=bytes(4096) if cookie % 2 == 0 else b"")
        c.disconnect()
        start = time.monotonic()
        rig.same(f"{how}: {COUNT} requests and NBD_CMD_DISC get {COUNT} replies", {i: 0 for i in range(1, COUNT + 1)},
                 replies_until_end(c))
        rig.ok(f"{how}: and the end at once", time.monotonic() - start < 3)
        c.close()

        # More than the sockets hold, taken late.
        c = Connection(address)
        c.go()
        for cookie in range(1, 41):
            c.request(CMD_READ, 0, 1 << 20, cookie)
        c.disconnect()
        time.sleep(1)
        rig.same(f"{how}: so does a client that takes them late", {i: 0 for i in range(1, 41)}, replies_until_end(c))
        c.close()

    before = server.descriptors()
    lasting = []
    for address in (server.address, ("127.0.0.1", server.ports()[0])):
        for end in ("disconnect", "hang up"):
            c = Connection(address)
            c.go()
            for cookie in range(60):
                c.request(CMD_READ, 0, 1 << 20, cookie)
            c.disconnect() if end == "disconnect" else c.socket.shutdown(socket.SHUT_WR)
            lasting.append(c)
    start = time.monotonic()
    rig.ok("clients that never take the last replies are waited for",
           server.descriptors() == before + 4 and not time.sleep(3) and server.descriptors() == before + 4)
    rig.ok("but not for ever", wait_until(lambda: server.descriptors() == before, 30))
    took = time.monotonic() - start
    rig.ok("for 10 seconds, or some more on a busy machine", 8 < took < 30, f"{took:.1f} s")
    rig.same("which the log says", 4, server.log().count("the client does not take the last replies"))
    rig.same("the server ends as it should", 0, server.stop())
