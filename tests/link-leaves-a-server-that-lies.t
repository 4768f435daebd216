#!/usr/bin/python3
# If this fails, a broken server gives a guest wrong data or errors, where the next connection would have given the right
# answer, and nobody is told why.
import os
import socket
import struct
import subprocess
import threading

from nbd_raw import *
from rig import BUILD, Rig, note

SIZE = 64 << 10
HONEST = 5  # commands answered on each connection before the lie; one that never answers is dialled again with delays
REP_MAGIC = 0x3E889045565A9


def chunk(cookie, kind, payload, done=1):
    return struct.pack(">IHHQI", CHUNK_MAGIC, done, kind, cookie, len(payload)) + payload


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


class Liar(threading.Thread):
    """Serves one connection after the other; each but the last ends with the next lie."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.bytes = bytearray(SIZE)

    def run(self):
        for lie in [lie for lie, _ in LIES] + [None]:
            connection, _ = self.listener.accept()
            with connection:
                try:
                    self.negotiate(connection)
                    self.serve(connection, lie)
                except (EOFError, OSError):
                    pass

    @staticmethod
    def take(connection, length):
        got = b""
        while len(got) < length:
            piece = connection.recv(length - len(got))
            if not piece:
                raise EOFError
            got += piece
        return got

    def negotiate(self, connection):
        connection.sendall(struct.pack(">QQH", MAGIC, OPTION_MAGIC, FIXED_NEWSTYLE | NO_ZEROES))
        self.take(connection, 4)
        option = None
        while option != OPT_GO:
            _, option, length = struct.unpack(">QII", self.take(connection, 16))
            self.take(connection, length)
            known = option in (OPT_STRUCTURED_REPLY, OPT_GO)
            if option == OPT_GO:
                info = struct.pack(">HQH", INFO_EXPORT, SIZE, 1)
                connection.sendall(struct.pack(">QIII", REP_MAGIC, option, REP_INFO, len(info)) + info)
            connection.sendall(struct.pack(">QIII", REP_MAGIC, option, REP_ACK if known else ERR_UNSUP, 0))

    def serve(self, connection, lie):
        count = 0
        while True:
            _, _, command, cookie, offset, length = struct.unpack(">IHHQQI", self.take(connection, 28))
            count += 1
            if command == CMD_DISC:
                return
            if command == CMD_READ and lie and count > HONEST:
                connection.sendall(lie(cookie, offset, length))
                self.take(connection, 1 << 20)  # until it hangs up
            elif command == CMD_READ:
                head = struct.pack(">Q", offset)
                connection.sendall(chunk(cookie, CHUNK_DATA, head + self.bytes[offset:offset + length]))
            else:
                self.bytes[offset:offset + length] = self.take(connection, length)
                connection.sendall(chunk(cookie, CHUNK_NONE, b""))


with Rig() as rig:
    path = rig.path("nbd.sock")
    Liar(path).start()
    done = subprocess.run([os.path.join(BUILD, "tests", "link-exercise"), "--fill", "--requests=300", "--depth=1",
                           "--longest=4", f"nbd+unix:///?socket={path}"], capture_output=True, text=True, timeout=100)
    lost = [line for line in done.stderr.splitlines() if "connection lost: " in line]
    rig.ok("every request ends well in the end", done.returncode == 0 and "errors 0, mismatches 0" in done.stdout,
           done.stdout, done.stderr)
    rig.same("each lie costs a connection", len(LIES), len(lost))
    for (_, words), line in zip(LIES, lost + [""] * len(LIES)):
        rig.ok(f"the log says: {words}", words in line, line)
    note(done.stdout.splitlines()[-1] if done.stdout else "")
