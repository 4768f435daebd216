"""A client that speaks each form of requests and replies, extended headers among them, and selects metadata contexts.

It checks of every reply what proto.md demands of its form.  Spec: NetworkBlockDevice/nbd, doc/proto.md of the branch
extension-ext-header.
"""

import collections
import socket
import struct
from urllib.parse import parse_qs, urlparse

from nbd_raw import meta_query

EXPORT_NAME, GO, STRUCTURED, LIST_META, SET_META, EXTENDED = 1, 7, 8, 9, 10, 11
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZERO, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO, PAYLOAD_LEN = (1 << bit for bit in range(6))
EIO, EINVAL, ENOSPC, EOVERFLOW = 5, 22, 28, 75
HOLE, HAS_STATUS_PAYLOAD = 3, 1 << 12

# chunks: (offset, length, is_hole) of a read; extents: (length, flags), or None where there was no status chunk.
Reply = collections.namedtuple("Reply", "cookie error data chunks extents")


class Client:
    def __init__(self, uri, form=None, export="", contexts=("base:allocation",), context_export=None):
        """@form: STRUCTURED, EXTENDED or None. @context_export: for which the contexts are selected, if another."""
        parts = urlparse(uri)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(parse_qs(parts.query)["socket"][0])
        self.form = form
        self.asked = {}
        assert self.receive(18) == b"NBDMAGICIHAVEOPT\0\3"
        self.socket.sendall(struct.pack(">I", 3))
        if form:
            assert self.option(form)[-1][0] == 1
        if form and contexts:
            replies = self.option(SET_META, meta_query(export if context_export is None else context_export, contexts))
            assert replies[-1][0] == 1
            self.ids = [struct.unpack(">I", data[:4])[0] for kind, data in replies[:-1] if kind == 4]
        name = export.encode()
        for kind, data in self.option(GO, struct.pack(">I", len(name)) + name + b"\0\0"):
            assert kind in (1, 3), data
            if kind == 3 and data[:2] == b"\0\0":
                self.size, self.flags = struct.unpack(">QH", data[2:])

    def receive(self, length):
        data = bytearray()
        while len(data) < length:
            got = self.socket.recv(length - len(data))
            if not got:
                raise EOFError
            data += got
        return bytes(data)

    def option(self, option, data=b""):
        """All replies, as (type, data); the last is the acknowledgement or the error."""
        self.socket.sendall(b"IHAVEOPT" + struct.pack(">II", option, len(data)) + data)
        replies = []
        while not replies or replies[-1][0] in (2, 3, 4):
            magic, answers, kind, length = struct.unpack(">QIII", self.receive(20))
            assert (magic, answers) == (0x3E889045565A9, option)
            replies.append((kind, self.receive(length)))
        return replies

    def send(self, command, offset=0, length=0, flags=0, payload=b"", cookie=1):
        if self.form == EXTENDED:
            if command == WRITE:
                flags |= PAYLOAD_LEN
            if flags & PAYLOAD_LEN:
                length = len(payload)
            header = struct.pack(">IHHQQQ", 0x21E41C71, flags, command, cookie, offset, length)
        else:
            header = struct.pack(">IHHQQI", 0x25609513, flags, command, cookie, offset, length)
        self.asked[cookie] = command, offset, length, flags
        self.socket.sendall(header + payload)

    def ask(self, *arguments, **named):
        self.send(*arguments, **named)
        return self.reply()

    def chunk_header(self):
        """(flags, type, cookie, length) of a chunk; or (None, error, cookie, None) of a simple reply."""
        magic, = struct.unpack(">I", self.receive(4))
        if magic == 0x6E8A278C:
            assert self.form == EXTENDED
            flags, kind, cookie, offset, length = struct.unpack(">HHQQQ", self.receive(28))
            assert offset == self.asked[cookie][1]
            return flags, kind, cookie, length
        if magic == 0x668E33EF:
            assert self.form == STRUCTURED
            return struct.unpack(">HHQI", self.receive(16))
        assert magic == 0x67446698 and self.form != EXTENDED, hex(magic)
        return None, *struct.unpack(">IQ", self.receive(12)), None

    def reply(self):
        flags, kind, cookie, length = self.chunk_header()
        command, offset, asked_length, asked_flags = self.asked[cookie]
        if flags is None:
            assert self.form is None or command not in (READ, STATUS)
            data = self.receive(asked_length) if command == READ and kind == 0 else b""
            return Reply(cookie, kind, data, [], None)
        data, chunks, error, extents, at = bytearray(), [], 0, None, offset
        while True:
            payload = self.receive(length)
            if kind & 0x8000:
                error, = struct.unpack(">I", payload[:4])
            elif kind in (1, 2):
                start, = struct.unpack(">Q", payload[:8])
                bytes_here = payload[8:] if kind == 1 else bytes(struct.unpack(">I", payload[8:])[0])
                assert command == READ and start == at and bytes_here
                at += len(bytes_here)
                data += bytes_here
                chunks.append((start, len(bytes_here), kind == 2))
            elif kind in (5, 6):
                assert command == STATUS and extents is None
                extents = self.extents(kind, payload)
            else:
                assert kind == 0 and flags & 1 and not payload, kind
            if flags & 1:
                break
            flags, kind, again, length = self.chunk_header()
            assert again == cookie
        if command == READ and not error:
            assert at == offset + asked_length
            assert len(chunks) == 1 or not asked_flags & DF
        if extents is not None and not asked_flags & PAYLOAD_LEN:
            assert sum(extent[0] for extent in extents[:-1]) < asked_length
            assert offset + sum(extent[0] for extent in extents) <= self.size
            if asked_flags & REQ_ONE:
                assert len(extents) == 1 and extents[0][0] <= asked_length
        del self.asked[cookie]
        return Reply(cookie, error, bytes(data), chunks, extents)

    def extents(self, kind, payload):
        assert kind == (6 if self.form == EXTENDED else 5)
        if kind == 6:
            context, count = struct.unpack(">II", payload[:8])
            extents = list(struct.iter_unpack(">QQ", payload[8:]))
            assert len(extents) == count
        else:
            context, = struct.unpack(">I", payload[:4])
            extents = list(struct.iter_unpack(">II", payload[4:]))
        assert context == self.ids[0] and extents and all(extent[0] for extent in extents)
        return extents

    def map(self, **named):
        """The whole export's extents, however many requests that takes; neighbours that are alike are one."""
        at, whole = 0, []
        while at < self.size:
            reply = self.ask(STATUS, at, min(self.size - at, 2**64 - 1 if self.form == EXTENDED else 2**32 - 1), **named)
            assert reply.error == 0
            for length, flags in reply.extents:
                if whole and whole[-1][1] == flags:
                    whole[-1] = whole[-1][0] + length, flags
                else:
                    whole.append((length, flags))
                at += length
        return whole

    def is_closed(self):
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
