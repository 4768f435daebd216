"""The NBD protocol byte by byte, for tests that send what no proper client would.

Spec: NetworkBlockDevice/nbd, doc/proto.md. Nothing here checks what the server says further than it must to stay in
step: that is the tests' business. Every wait ends after TIMEOUT_S.
"""

import collections
import socket
import struct

TIMEOUT_S = 20

MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC = 0x4E42444D41474943, 0x49484156454F5054, 0x3E889045565A9
REQUEST_MAGIC, SIMPLE_MAGIC, CHUNK_MAGIC = 0x25609513, 0x67446698, 0x668E33EF

FIXED_NEWSTYLE, NO_ZEROES = 1, 2
(OPT_EXPORT_NAME, OPT_ABORT, OPT_LIST, OPT_STARTTLS, OPT_INFO, OPT_GO, OPT_STRUCTURED_REPLY, OPT_LIST_META_CONTEXT,
 OPT_SET_META_CONTEXT, OPT_EXTENDED_HEADERS) = 1, 2, 3, 5, 6, 7, 8, 9, 10, 11
REP_ACK, REP_SERVER, REP_INFO, REP_META_CONTEXT = 1, 2, 3, 4
(ERR_UNSUP, ERR_POLICY, ERR_INVALID, ERR_PLATFORM, ERR_TLS_REQD, ERR_UNKNOWN, ERR_SHUTDOWN, ERR_BLOCK_SIZE_REQD,
 ERR_TOO_BIG, ERR_EXT_HEADER_REQD) = (0x80000000 + i for i in range(1, 11))
INFO_EXPORT, INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE = range(4)

CMD_READ, CMD_WRITE, CMD_DISC, CMD_FLUSH, CMD_TRIM, CMD_CACHE, CMD_WRITE_ZEROES, CMD_BLOCK_STATUS = range(8)
FLAG_FUA, FLAG_NO_HOLE, FLAG_DF, FLAG_REQ_ONE, FLAG_FAST_ZERO = 1, 2, 4, 8, 16
EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP, ESHUTDOWN = 1, 5, 12, 22, 28, 75, 95, 108
CHUNK_DONE, CHUNK_NONE, CHUNK_DATA, CHUNK_HOLE, CHUNK_ERROR = 1, 0, 1, 2, 0x8001

OptionReply = collections.namedtuple("OptionReply", "option type data")
# chunks: types in order; empty: a simple reply. words: of an error, in a structured one.
Reply = collections.namedtuple("Reply", "cookie error data chunks words", defaults=("",))


class Closed(Exception):
    """The server closed the connection where bytes were due; got: how many of these came."""

    def __init__(self, got, wanted):
        super().__init__(f"{got} of {wanted} bytes")
        self.got = got


class Connection:
    def __init__(self, address):
        """@address: a path, (host, port), or a socket that is connected already."""
        if isinstance(address, socket.socket):
            self.socket = address
            self.socket.settimeout(TIMEOUT_S)
        else:
            self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
            self.socket.settimeout(TIMEOUT_S)
            self.socket.connect(address)
        self.expected = {}  # cookie: bytes that a simple reply to it carries
        self.structured = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, count):
        data = bytearray(count)
        view = memoryview(data)
        while view:
            try:
                got = self.socket.recv_into(view)
            except ConnectionResetError:
                got = 0
            if not got:
                raise Closed(count - len(view), count)
            view = view[got:]
        return bytes(data)

    def closed(self):
        """Whether the server has closed, or closes in time, without another byte."""
        try:
            return self.socket.recv(1) == b""
        except (ConnectionResetError, BrokenPipeError):
            return True
        except TimeoutError:
            return False

    # handshake

    def greet(self, flags=FIXED_NEWSTYLE | NO_ZEROES):
        """Takes the server's greeting and answers with @flags; returns the server's."""
        magic, option_magic, theirs = struct.unpack(">QQH", self.receive(18))
        assert (magic, option_magic) == (MAGIC, OPTION_MAGIC)
        self.send(struct.pack(">I", flags))
        return theirs

    def send_option(self, option, data=b"", length=None, magic=OPTION_MAGIC):
        self.send(option_bytes(option, data, length, magic))

    def option_reply(self):
        magic, option, kind, length = struct.unpack(">QIII", self.receive(20))
        assert magic == OPTION_REPLY_MAGIC
        return OptionReply(option, kind, self.receive(length))

    def option(self, option, data=b""):
        """All replies to one option; the last one is the acknowledgement or the error."""
        self.send_option(option, data)
        replies = [self.option_reply()]
        while replies[-1].type in (REP_SERVER, REP_INFO, REP_META_CONTEXT):
            replies.append(self.option_reply())
        return replies

    def go(self, name="", infos=(), structured=False, flags=FIXED_NEWSTYLE | NO_ZEROES):
        """From the greeting to transmission. Returns (size, transmission flags)."""
        self.greet(flags)
        if structured:
            assert self.option(OPT_STRUCTURED_REPLY)[-1].type == REP_ACK
            self.structured = True
        replies = self.option(OPT_GO, info_request(name, infos))
        assert replies[-1].type == REP_ACK, replies
        export = next(r.data for r in replies if r.type == REP_INFO and r.data[:2] == struct.pack(">H", INFO_EXPORT))
        return struct.unpack(">QH", export[2:])

    # transmission

    def request(self, command, offset=0, length=0, cookie=1, flags=0, data=b""):
        self.expected[cookie] = length if command == CMD_READ else 0
        self.send(request_bytes(command, offset, length, cookie, flags) + data)

    def reply(self):
        """The next whole reply, whichever request it answers. (Chunks of two requests may not mingle: ours do not.)

        Closed.got is 0 only if the connection ended where a reply could begin.
        """
        data, chunks, error, words, done = bytearray(), [], 0, "", False
        magic, = struct.unpack(">I", self.receive(4))
        try:
            if magic == SIMPLE_MAGIC:
                error, cookie = struct.unpack(">IQ", self.receive(12))
                length = self.expected.pop(cookie)
                return Reply(cookie, error, b"" if error else self.receive(length), [])
            while not done:
                assert magic == CHUNK_MAGIC, hex(magic)
                flags, kind, cookie, length = struct.unpack(">HHQI", self.receive(16))
                payload = self.receive(length)
                chunks.append(kind)
                if kind == CHUNK_DATA:
                    data += payload[8:]
                elif kind == CHUNK_HOLE:
                    data += bytes(struct.unpack(">QI", payload)[1])
                elif kind & 0x8000:
                    error, length = struct.unpack(">IH", payload[:6])
                    words = payload[6:6 + length].decode()
                done = flags & CHUNK_DONE
                if not done:
                    magic, = struct.unpack(">I", self.receive(4))
        except Closed as closed:
            closed.got += 4
            raise
        self.expected.pop(cookie)
        return Reply(cookie, error, bytes(data), chunks, words)

    def ask(self, command, offset=0, length=0, cookie=1, flags=0, data=b""):
        """One request and its reply."""
        self.request(command, offset, length, cookie, flags, data)
        return self.reply()

    def disconnect(self):
        self.request(CMD_DISC, cookie=0)


def option_bytes(option, data=b"", length=None, magic=OPTION_MAGIC):
    return struct.pack(">QII", magic, option, len(data) if length is None else length) + data


def info_request(name, infos=()):
    """The data of NBD_OPT_INFO and NBD_OPT_GO; @name: text, or bytes that are none."""
    name = name if isinstance(name, bytes) else name.encode()
    return struct.pack(">I", len(name)) + name + struct.pack(">H", len(infos)) + b"".join(
        struct.pack(">H", info) for info in infos)


def meta_query(export, queries):
    """The data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT."""
    def string(text):
        return struct.pack(">I", len(text.encode())) + text.encode()

    return string(export) + struct.pack(">I", len(queries)) + b"".join(map(string, queries))


def replies_until_end(connection):
    """Replies until the server hangs up: {cookie: error}; "cut" is one if the last is not whole."""
    got = {}
    try:
        while True:
            reply = connection.reply()
            got[reply.cookie] = reply.error
    except Closed as closed:
        if closed.got:
            got["cut"] = EIO
        return got


def request_bytes(command, offset=0, length=0, cookie=1, flags=0, magic=REQUEST_MAGIC):
    return struct.pack(">IHHQQI", magic, flags, command, cookie, offset, length)
