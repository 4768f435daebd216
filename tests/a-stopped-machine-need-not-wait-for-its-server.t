#!/usr/bin/env python3
# A VMM that stops a disk's ring while the NBD server is away is answered at once, if it can keep what is in flight: who
# serves the disk next carries that out. A VMM that cannot is answered when the server is back, and the log says what it
# waits for.
# If this fails, a virtual machine cannot be moved or shut down while its storage is away, or its writes are lost then.
import os
import signal
import socket
import sys
import time

sys.path.insert(0, __file__.rsplit("/", 1)[0])

from rig import Rig, wait_until
from vhost_user import BLOCK, P_GET_VRING_BASE_INFLIGHT, P_INFLIGHT_SHMFD, SECTOR, Client, Guest

WRITES = 4
OK = 0


def ask_all(guest):
    for slot in range(WRITES):
        guest.write(slot, sector=slot * BLOCK // SECTOR, byte=slot + 1)
    guest.kick()


def begin(rig, server, name, protocol):
    """A guest with all its writes in flight to a server that does not answer, and the record of them."""
    client = Client(rig, rig.path(name), server.uri())
    guest = Guest()
    guest.connect(client.path)
    guest.negotiate(protocol)
    record = guest.get_record()
    guest.keep_record(record)
    guest.start(base=0)
    guest.write(WRITES, sector=WRITES * BLOCK // SECTOR, byte=WRITES + 1)
    guest.kick()
    wait_until(lambda: guest.used() == 1)
    server.process.send_signal(signal.SIGSTOP)
    ask_all(guest)
    time.sleep(0.2)  # they are on their way by then; only what is said of live connections depends on it
    return client, guest, record


def lose(server, client):
    lost = client.log().count("connection lost")
    server.stop(signal.SIGKILL)
    wait_until(lambda: client.log().count("connection lost") > lost)


def silent_server(path):
    """Accepts, and says nothing. Returns when somebody dials it."""
    os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener, listener.accept()


def all_done(guest):
    return wait_until(lambda: guest.used() == WRITES + 1) and all(guest.status(slot) == OK for slot in range(WRITES))


def written(path):
    with open(path, "rb") as disk:
        return disk.read((WRITES + 1) * BLOCK)


EXPECTED = b"".join(bytes([slot + 1]) * BLOCK for slot in range(WRITES + 1))

LEAVES = P_INFLIGHT_SHMFD | P_GET_VRING_BASE_INFLIGHT

with Rig() as rig:
    disk = rig.disk("live", "1M")
    server = rig.server("--export", "=" + disk)
    client, guest, _ = begin(rig, server, "live.sock", LEAVES)
    guest.ask_base()
    try:
        rig.ok("what is on a connection is waited for", False, guest.base(0.3))
    except TimeoutError:
        rig.ok("what is on a connection is waited for", True)
    server.stop(signal.SIGKILL)
    rig.same("and is left when the connection is lost", WRITES + 1, guest.base(5))

    disk = rig.disk("silent", "1M")
    server = rig.server("--export", "=" + disk)
    client, guest, _ = begin(rig, server, "silent.sock", LEAVES)
    lose(server, client)
    silent = silent_server(server.path)
    guest.ask_base()
    rig.same("a server that does not get through its handshake is away, too", WRITES + 1, guest.base(5))

    disk = rig.disk("left", "1M")
    server = rig.server("--export", "=" + disk)
    client, guest, record = begin(rig, server, "left.sock", LEAVES)
    lose(server, client)
    asked = time.monotonic()
    guest.ask_base()
    rig.same("the base is that behind the last request taken", WRITES + 1, guest.base())
    took = time.monotonic() - asked
    rig.ok("the VMM is answered at once", took < 2, took)
    rig.same("nothing was carried out", 1, guest.used())
    client.process.kill()
    client.process.wait()
    again = rig.server("--export", "=" + disk, "--listen", "unix:" + server.path)
    successor = Client(rig, rig.path("next.sock"), again.uri())
    guest.connect(successor.path)
    guest.negotiate(P_INFLIGHT_SHMFD)
    guest.keep_record(record)
    guest.start(base=WRITES + 1)
    rig.ok("the next one carries out what was left", all_done(guest), guest.used())
    rig.same("every byte is there", EXPECTED, written(disk))

    disk = rig.disk("waited", "1M")
    server = rig.server("--export", "=" + disk)
    client, guest, _ = begin(rig, server, "waited.sock", P_INFLIGHT_SHMFD)
    lose(server, client)
    guest.ask_base()
    rig.ok("the log says what a VMM waits for that cannot keep it",
           wait_until(lambda: "GET_VRING_BASE waits" in client.log()), client.log())
    try:
        rig.ok("it has no answer", False, guest.base(0.1))
    except TimeoutError:
        rig.ok("it has no answer", True)
    again = rig.server("--export", "=" + disk, "--listen", "unix:" + server.path)
    rig.same("it is answered when the server is back", WRITES + 1, guest.base())
    rig.ok("everything is carried out by then", all_done(guest), guest.used())
    rig.same("every byte is there", EXPECTED, written(disk))
