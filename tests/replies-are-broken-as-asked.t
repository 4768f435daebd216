#!/usr/bin/python3
# Every byte of a broken reply, in each of the three forms that replies have.
# If this fails, a client's care for broken replies is tested by replies that are whole, or broken in another way.
import struct
import time

from nbd_dialects import EXTENDED, READ, STRUCTURED, Client
from rig import Rig

LENGTH = 1024
FORMS = {"simple": (None, 16), "structured": (STRUCTURED, 20 + 8), "extended": (EXTENDED, 32 + 8)}  # head of a read
COOKIE = slice(8, 16)
EXTRA = 8


def flipped(data):
    return bytes(byte ^ 0xFF for byte in data)


def received(client):
    """All bytes until the server hangs up."""
    data = b""
    while True:
        got = client.socket.recv(1 << 16)
        if not got:
            return data
        data += got


def longer(good, form):
    if form == "simple":
        return good + bytes(EXTRA)
    at, kind = (16, ">I") if form == "structured" else (24, ">Q")
    size = struct.calcsize(kind)
    length, = struct.unpack(kind, good[at:at + size])
    return good[:at] + struct.pack(kind, length + EXTRA) + good[at + size:]


# What each makes of a reply: alone, ...
CUT = {
    "close before": lambda good: b"",
    "close amid": lambda good: good[:len(good) // 2],
    "close after": lambda good: good,
    "close at 0": lambda good: b"",
    "close at 1": lambda good: good[:1],
    "close at 21": lambda good: good[:21],
    "close at 100": lambda good: good[:100],
    "close at 1000000": lambda good: good,
}
# ... and followed by another.
WRONG = {
    "wrong cookie": lambda good, form: good[:8] + flipped(good[COOKIE]) + good[16:],
    "wrong magic": lambda good, form: flipped(good[:4]) + good[4:],
    "wrong length": longer,
    "double": lambda good, form: good + good,
}


def two_reads(client):
    client.send(READ, 0, LENGTH, cookie=0x1122334455667788)
    client.send(READ, 4096, LENGTH, cookie=2)


def overtaken_s(client, head):
    begun = time.monotonic()
    two_reads(client)
    client.receive(2 * (head + LENGTH))
    return time.monotonic() - begun


def check(rig, form, dial, head):
    client = dial("good")
    two_reads(client)
    good, second = client.receive(head + LENGTH), client.receive(head + LENGTH)
    for name, cut in CUT.items():
        client = dial(name)
        client.send(READ, 0, LENGTH, cookie=0x1122334455667788)
        rig.same(f"{form}, {name}", cut(good), received(client))
    for name, spoil in WRONG.items():
        client = dial(name)
        two_reads(client)
        expected = spoil(good, form) + second
        rig.same(f"{form}, {name}, and the next is whole", expected, client.receive(len(expected)))
    for name in ("reorder", "delay 1s"):
        client = dial(name)
        two_reads(client)
        got = [client.receive(head + LENGTH) for _ in range(2)]
        rig.ok(f"{form}, {name}: the next reply overtakes it", got == [second, good], got)
    rig.ok(f"{form}, reorder: at once behind it, and not after a second", any(
        overtaken_s(dial("reorder"), head) < 0.9 for _ in range(5)))
    client = dial("refused")
    client.send(READ, 0, LENGTH, cookie=0x1122334455667788)
    got = received(client)
    rig.same(f"{form}: a reply that tells of an error is cut as well", (10, good[8:10]), (len(got), got[8:10]))


with Rig() as rig:
    path = rig.disk("disk", "1M", fill=True)
    rules = {name: [f"read 0-1K: {name}"] for name in [*CUT, *WRONG, "reorder", "delay 1s"]}
    rules |= {"good": [], "refused": ["read: error EIO", "read: close at 10"]}
    server = rig.server(*(word for name in rules for word in (
        "--export", f"{name}={path},readonly" + "".join(",fault=" + rule for rule in rules[name]))))
    for form, (option, head) in FORMS.items():
        check(rig, form, lambda export: Client(server.uri(), option, export, contexts=()), head)
    client = Client(server.uri(), None, "reorder")
    rig.same("a reply that nothing overtakes comes nevertheless", 0, client.ask(READ, 0, LENGTH).error)
    rig.same("and the connection goes on", 0, client.ask(READ, 4096, LENGTH).error)
    rig.same("the server ends in order", 0, server.stop())
