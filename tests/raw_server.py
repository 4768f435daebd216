"""An NBD server that says what no proper one would, for tests of clients: its handshake, and what a test makes of the rest.

    server = RawServer(path, serve)     # serve(connection, number): from the end of each handshake on

Spec: NetworkBlockDevice/nbd, doc/proto.md.
"""

import socket
import struct
import threading

from nbd_raw import *

REP_MAGIC = 0x3E889045565A9


def take(connection, length):
    got = b""
    while len(got) < length:
        piece = connection.recv(length - len(got))
        if not piece:
            raise EOFError
        got += piece
    return got


def take_request(connection):
    """(command, cookie, offset, length); the data of a write is left."""
    return struct.unpack(">IHHQQI", take(connection, 28))[2:]


def chunk(cookie, kind, payload, done=1):
    return struct.pack(">IHHQI", CHUNK_MAGIC, done, kind, cookie, len(payload)) + payload


class RawServer(threading.Thread):
    """Serves one connection after the other, and counts them."""

    def __init__(self, path, serve, size=64 << 10):
        super().__init__(daemon=True)
        self.serve, self.size, self.connections, self.options = serve, size, 0, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        self.start()

    def run(self):
        while True:
            connection, _ = self.listener.accept()
            self.connections += 1
            with connection:
                try:
                    self.negotiate(connection)
                    self.serve(connection, self.connections - 1)
                except (EOFError, OSError):
                    pass

    def negotiate(self, connection):
        connection.sendall(struct.pack(">QQH", MAGIC, OPTION_MAGIC, FIXED_NEWSTYLE | NO_ZEROES))
        take(connection, 4)
        option = None
        while option != OPT_GO:
            _, option, length = struct.unpack(">QII", take(connection, 16))
            take(connection, length)
            self.options.append(option)
            known = option in (OPT_STRUCTURED_REPLY, OPT_GO)
            if option == OPT_GO:
                info = struct.pack(">HQH", INFO_EXPORT, self.size, 1)
                connection.sendall(struct.pack(">QIII", REP_MAGIC, option, REP_INFO, len(info)) + info)
            connection.sendall(struct.pack(">QIII", REP_MAGIC, option, REP_ACK if known else ERR_UNSUP, 0))
