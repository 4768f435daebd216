#!/usr/bin/python3
# A write that its connection has left behind, in the server or on the way there, is not carried out after vnbd-client has
# connected anew, or a successor of it has: it would undo what the guest wrote since.
# If this fails, a guest finds old data in place of newer data that it was told is written.
import socket
import threading
import time

from nbd_raw import *
from rig import Rig, wait_until
from vhost_user import BLOCK, F_BLK_FLUSH, P_INFLIGHT_SHMFD, Client, Guest

OLD, NEW = 1, 2


class LateProxy(threading.Thread):
    """What the first client sends from the first write on reaches the server so much later; the client is hung up on at once."""

    def __init__(self, path, to, late_s):
        super().__init__(daemon=True)
        self.to, self.late_s, self.landed = to, late_s, threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.start()

    def run(self):
        is_first = True
        while True:
            client, _ = self.listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.to)
            threading.Thread(target=self.copy, args=(server, client), daemon=True).start()
            threading.Thread(target=self.copy, args=(client, server, is_first), daemon=True).start()
            is_first = False

    def copy(self, source, sink, is_late=False):
        write = struct.pack(">IHH", REQUEST_MAGIC, 0, CMD_WRITE)
        try:
            while data := source.recv(1 << 16):
                if is_late and write in data:
                    source.shutdown(socket.SHUT_RDWR)
                    time.sleep(self.late_s)
                    sink.sendall(data)
                    self.landed.set()
                    return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)
        except OSError:
            if is_late:
                self.landed.set()


def first_byte(path, offset=0):
    with open(path, "rb") as disk:
        disk.seek(offset)
        return disk.read(1)[0]


def begin(guest, client, record=None):
    guest.connect(client.path)
    guest.negotiate(P_INFLIGHT_SHMFD, F_BLK_FLUSH)
    record = record or guest.get_record()
    guest.keep_record(record)
    guest.start(base=0)
    return record


def write(guest, slot, byte):
    guest.write(slot, sector=8, byte=byte)
    guest.kick()


def overwrite(guest):
    """The old write, and when it is done the new one, of the same bytes."""
    write(guest, 0, OLD)
    done = wait_until(lambda: guest.used() == 1)
    write(guest, 1, NEW)
    return done and wait_until(lambda: guest.used() == 2) and guest.status(0) == guest.status(1) == 0


def session(server, *numbers):
    """A connection that tells whose it is; None: it does not."""
    connection = Connection(server.address)
    connection.greet()
    connection.option(OPT_STRUCTURED_REPLY)
    name = "vnbd:session:" + ":".join(f"{number:016x}" for number in numbers)
    assert connection.option(OPT_SET_META_CONTEXT, meta_query("", [name] if numbers else []))[-1].type == REP_ACK
    assert connection.option(OPT_GO, info_request(""))[-1].type == REP_ACK
    connection.structured = True
    return connection


def lives(connection):
    try:
        return connection.ask(CMD_READ, 0, 512).error == 0
    except (Closed, ConnectionError):
        return False


with Rig() as rig:
    path = rig.disk("ghost", "1M")
    server = rig.server("--export", f"={path},fault=write once: ghost 500ms")
    guest = Guest()
    begin(guest, Client(rig, rig.path("ghost.sock"), server.uri()))
    rig.ok("a write that the server has left for later is sent again, and overwritten", overwrite(guest))
    time.sleep(0.8)
    rig.same("what was left does not undo it", NEW, first_byte(path, BLOCK))

    path = rig.disk("late", "1M")
    server = rig.server("--export", "=" + path)
    proxy = LateProxy(rig.path("proxy.sock"), server.path, 0.5)
    guest = Guest()
    begin(guest, Client(rig, rig.path("late.sock"), f"nbd+unix:///?socket={rig.path('proxy.sock')}", "--threads=1"))
    rig.ok("a write that is held up on its way is sent again, and overwritten", overwrite(guest))
    rig.ok("it arrives, or is refused", proxy.landed.wait(10))
    rig.same("and does not undo the newer one", NEW, first_byte(path, BLOCK))

    path = rig.disk("heir", "1M")
    server = rig.server("--export", f"={path},fault=write times 3: ghost 2s")
    guest = Guest()
    client = Client(rig, rig.path("heir.sock"), server.uri(), "--threads=1")
    record = begin(guest, client)
    write(guest, 0, OLD)
    wait_until(lambda: "connection lost" in client.log())
    killed = time.monotonic()
    client.process.kill()
    client.process.wait()
    client = Client(rig, rig.path("heir.sock"), server.uri(), "--threads=1")
    guest.socket.close()
    begin(guest, client, record)
    rig.ok("a successor runs it again", wait_until(lambda: guest.used() == 1))
    write(guest, 1, NEW)
    rig.ok("and the guest overwrites it", wait_until(lambda: guest.used() == 2))
    time.sleep(max(0, killed + 2.3 - time.monotonic()))
    rig.same("what the killed one left does not undo it", NEW, first_byte(path, BLOCK))

    server = rig.server("--workers", "2", "--export", "=" + rig.disk("own", "1M"))
    mine, beside, stranger, silent = session(server, 1, 1, 0), session(server, 1, 1, 1), session(server, 2, 1, 0), session(server)
    rig.same("connections side by side harm nobody", [True] * 4, [lives(one) for one in (mine, beside, stranger, silent)])
    next_one = session(server, 1, 1, 0)
    rig.same("the same again ends its predecessor alone", [True, False, True, True, True],
             [lives(one) for one in (next_one, mine, beside, stranger, silent)])
    next_life = session(server, 1, 2, 5)
    rig.same("another life ends all of the one before", [True, False, False, True, True],
             [lives(one) for one in (next_life, next_one, beside, stranger, silent)])
    for wrong in ("vnbd:session:", "vnbd:session:1", "vnbd:session:" + ":".join(["0" * 15 + "1"] * 2 + ["0" * 15 + "G"])):
        other = Connection(server.address)
        other.greet()
        other.option(OPT_STRUCTURED_REPLY)
        other.option(OPT_SET_META_CONTEXT, meta_query("", [wrong]))
        other.option(OPT_GO, info_request(""))
        rig.ok(f"what tells nothing ends nothing: {wrong[:20]}", lives(next_life) and lives(other))
