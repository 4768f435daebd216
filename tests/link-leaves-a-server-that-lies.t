#!/usr/bin/python3
# If this fails, a broken server gives a guest wrong data or errors, where the next connection would have given the right
# answer, and nobody is told why.
import os
import struct
import subprocess

from nbd_raw import *
from raw_server import RawServer, chunk, take, take_request
from rig import BUILD, Rig, note

SIZE = 64 << 10
HONEST = 5  # commands answered on each connection before the lie; one that never answers is dialled again with delays


def data(cookie, offset, length, done=1):
    return chunk(cookie, CHUNK_DATA, struct.pack(">Q", offset) + b"\xee" * length, done)


# What is said to a read of @length bytes at @offset, and what the log says of it.
LIES = [
    (lambda cookie, offset, length: struct.pack(">IIQ", 0x12345678, 0, cookie), "without its magic number"),
    (lambda cookie, offset, length: struct.pack(">IIQ", SIMPLE_MAGIC, 0, cookie ^ 1), "to no request in flight"),
    (lambda cookie, offset, length: struct.pack(">IIQ", SIMPLE_MAGIC, 0, cookie) + bytes(length), "a simple reply to a read"),
    (lambda cookie, offset, length: data(cookie, offset + 1, length), "from outside of what was read"),
    (lambda cookie, offset, length: data(cookie, offset, length, 0) + data(cookie, offset, 1), "more data than was read"),
    (lambda cookie, offset, length: data(cookie, offset, length - 1), "less data than was read"),
    (lambda cookie, offset, length: chunk(cookie, 7, b""), "a chunk of an unknown type"),
    (lambda cookie, offset, length: chunk(cookie, CHUNK_ERROR, bytes(5)), "of a length that its type does not have"),
    (lambda cookie, offset, length: chunk(cookie, CHUNK_ERROR, struct.pack(">IH", ESHUTDOWN, 0)), "is shutting down"),
]


# libnbd takes no notice of a reply to no request, as if it were none.
LIES_TO_LIBNBD = [lie for lie in LIES if "no request" not in lie[1]]


class Liar:
    """Each connection but the last ends with the next lie."""

    def __init__(self, path, lies):
        self.lies = [lie for lie, _ in lies] + [None]
        self.bytes = bytearray(SIZE)
        RawServer(path, self.serve, SIZE)

    def serve(self, connection, number):
        lie, count = self.lies[number], 0
        while True:
            command, cookie, offset, length = take_request(connection)
            count += 1
            if command == CMD_DISC:
                return
            if command == CMD_READ and lie and count > HONEST:
                connection.sendall(lie(cookie, offset, length))
                take(connection, 1 << 20)  # until it hangs up
            elif command == CMD_READ:
                head = struct.pack(">Q", offset)
                connection.sendall(chunk(cookie, CHUNK_DATA, head + self.bytes[offset:offset + length]))
            else:
                self.bytes[offset:offset + length] = take(connection, length)
                connection.sendall(chunk(cookie, CHUNK_NONE, b""))


def lie_to(rig, name, lies, **environment):
    """Returns the words of the log about each connection that was lost."""
    path = rig.path(name)
    Liar(path, lies)
    done = subprocess.run([os.path.join(BUILD, "tests", "link-exercise"), "--fill", "--requests=300", "--depth=1",
                           "--longest=4", f"nbd+unix:///?socket={path}"], capture_output=True, text=True, timeout=100,
                          env={**os.environ, **environment})
    lost = [line for line in done.stderr.splitlines() if "connection lost: " in line]
    rig.ok(f"{name}: every request ends well in the end",
           done.returncode == 0 and "errors 0, mismatches 0" in done.stdout, done.stdout, done.stderr)
    rig.same(f"{name}: each lie costs a connection", len(lies), len(lost))
    note(done.stdout.splitlines()[-1] if done.stdout else "")
    return lost + [""] * len(lies)


with Rig() as rig:
    for (_, words), line in zip(LIES, lie_to(rig, "our-engine", LIES)):
        rig.ok(f"the log says: {words}", words in line, line)
    lie_to(rig, "libnbd", LIES_TO_LIBNBD, VNBD_ENGINE="libnbd")
