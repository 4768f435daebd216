#!/usr/bin/python3
# If this fails, a client whose socket is full when a reply is sent to it waits for that reply for ever, unless somebody
# else stirs the worker.
import socket
import time

from nbd_raw import *
from rig import Rig, wait_until

LENGTH, REPLY = 4096, 16 + 4096
FILLED_S = 0.5


def received(c):
    """What the client's socket holds, up to a megabyte."""
    return len(c.socket.recv(1 << 20, socket.MSG_PEEK))


def fill(c):
    """Requests until the socket has no room for the last one's reply. Returns how many."""
    number = 0
    while True:
        c.request(CMD_READ, 0, LENGTH, cookie=number)
        number += 1
        if not wait_until(lambda: received(c) == number * REPLY, FILLED_S):
            return number


with Rig() as rig:
    # Random bytes: zeroes might be read as holes.
    server = rig.server("--workers", "1", "--export", "=" + rig.disk("disk", "1M", fill=True))
    for pause_s in (0, 0.1):
        with Connection(server.address) as c:
            c.go()
            count = fill(c)
            left = count * REPLY
            while left > 0:
                time.sleep(pause_s)
                left -= len(c.socket.recv(min(left, 50000)))
            rig.same(f"all of {count} replies arrive, taken every {pause_s} s", 0, left)
