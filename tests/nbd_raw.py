"""nbd_raw.py -- NBD byte by byte, for tests that send what no client library would.

	client = Client(uri)            # after the handshake, or
	client = Client(uri, go=False)  # after the greeting and the client flags
"""

import socket
import struct
import time
from urllib.parse import parse_qs, urlparse

READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZERO = range(7)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = (1 << bit for bit in range(5))
GO, STRUCTURED_REPLY = 7, 8
EPERM, EIO, EINVAL, ENOSPC = 1, 5, 22, 28


def connect(uri):
    parts = urlparse(uri)
    if parts.scheme == "nbd+unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(parse_qs(parts.query)["socket"][0])
    else:
        sock = socket.create_connection((parts.hostname, parts.port))
    sock.settimeout(30)
    return sock


def refused(uri):
    """Whether nobody listens there."""
    try:
        connect(uri).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    return False


class Client:
    def __init__(self, uri, export="", structured=False, go=True):
        self.sock = connect(uri)
        self.structured = structured
        assert self.recv(18) == b"NBDMAGICIHAVEOPT\0\3"
        self.send(struct.pack(">I", 3))
        if go and structured:
            self.option(STRUCTURED_REPLY)
            assert self.option_reply()[0] == 1
        if go:
            name = export.encode()
            self.option(GO, struct.pack(">I", len(name)) + name + b"\0\0")
            while (reply := self.option_reply())[0] != 1:
                assert reply[0] == 3, reply
                if reply[1][:2] == b"\0\0":
                    self.size, self.flags = struct.unpack(">QH", reply[1][2:])

    def send(self, data):
        self.sock.sendall(data)

    def recv(self, length):
        """Exactly so much; EOFError where the connection ends before."""
        data = bytearray()
        while len(data) < length:
            got = self.sock.recv(length - len(data))
            if not got:
                raise EOFError(f"{len(data)} of {length} bytes")
            data += got
        return bytes(data)

    def option(self, option, data=b""):
        self.send(b"IHAVEOPT" + struct.pack(">II", option, len(data)) + data)

    def option_reply(self):
        magic, _, kind, length = struct.unpack(">QIII", self.recv(20))
        assert magic == 0x3E889045565A9
        return kind, self.recv(length)

    @staticmethod
    def header(command, cookie=0, offset=0, length=0, flags=0, magic=0x25609513):
        return struct.pack(">IHHQQI", magic, flags, command, cookie, offset, length)

    def ask(self, command, cookie=0, offset=0, length=0, flags=0, payload=b""):
        self.send(self.header(command, cookie, offset, length, flags) + payload)

    def reply(self, read_length=0):
        """(cookie, error, data) of a simple reply, or of a structured one of a single chunk."""
        magic = struct.unpack(">I", self.recv(4))[0]
        if magic == 0x67446698:
            error, cookie = struct.unpack(">IQ", self.recv(12))
            return cookie, error, self.recv(read_length) if read_length and not error else b""
        assert magic == 0x668E33EF, hex(magic)
        flags, kind, cookie, length = struct.unpack(">HHQI", self.recv(16))
        assert flags == 1
        payload = self.recv(length)
        if kind & 0x8000:
            return cookie, struct.unpack(">I", payload[:4])[0], payload[6:]
        assert kind in (0, 1)
        return cookie, 0, payload[8:]

    def is_closed(self):
        """Whether the server ends the connection, now or soon."""
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.sock.close()


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
