"""The server under test: where it is, how to get anywhere with it, and what it offers.

What it says of itself is asked once. A row opens as many connections as it likes; they are closed behind it.
"""

import collections
import functools
import os
import socket
import ssl
import struct
import sys
from urllib.parse import parse_qs, unquote, urlparse

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from nbd_raw import *  # noqa: E402
from suite import applies  # noqa: E402

SIMPLE, STRUCTURED, EXTENDED = "simple", "structured", "extended"
FORMS = SIMPLE, STRUCTURED, EXTENDED
FORM_OPTION = {STRUCTURED: OPT_STRUCTURED_REPLY, EXTENDED: OPT_EXTENDED_HEADERS}
EXTENDED_REQUEST_MAGIC, EXTENDED_CHUNK_MAGIC = 0x21E41C71, 0x6E8A278C
CHUNK_STATUS, CHUNK_STATUS_EXT, CHUNK_ERROR_OFFSET = 5, 6, 0x8002
FLAG_PAYLOAD_LEN = 32
(HAS_FLAGS, READ_ONLY, SEND_FLUSH, SEND_FUA, ROTATIONAL, SEND_TRIM, SEND_WRITE_ZEROES, SEND_DF, CAN_MULTI_CONN, SEND_RESIZE,
 SEND_CACHE, SEND_FAST_ZERO, STATUS_PAYLOAD) = (1 << bit for bit in range(13))
OFFERED_BY = {CMD_READ: HAS_FLAGS, CMD_WRITE: HAS_FLAGS, CMD_FLUSH: SEND_FLUSH, CMD_TRIM: SEND_TRIM,
              CMD_CACHE: SEND_CACHE, CMD_WRITE_ZEROES: SEND_WRITE_ZEROES}
COMMANDS = {CMD_READ: "READ", CMD_WRITE: "WRITE", CMD_FLUSH: "FLUSH", CMD_TRIM: "TRIM", CMD_CACHE: "CACHE",
            CMD_WRITE_ZEROES: "WRITE_ZEROES", CMD_BLOCK_STATUS: "BLOCK_STATUS"}
CHANGING = CMD_WRITE, CMD_TRIM, CMD_WRITE_ZEROES
ALLOCATION = "base:allocation"
BOTH = FIXED_NEWSTYLE | NO_ZEROES

Chunk = collections.namedtuple("Chunk", "flags type offset payload")  # offset: what an extended one echoes, or None


class Answer:
    """The whole reply to a request: a simple one, or chunks."""

    def __init__(self, request):
        self.command, self.offset, self.length = request
        self.is_simple, self.error, self.data, self.chunks = False, 0, b"", []

    def add(self, chunk):
        self.chunks.append(chunk)
        if chunk.type & 0x8000 and len(chunk.payload) >= 4:
            self.error = self.error or struct.unpack(">I", chunk.payload[:4])[0]

    def content(self):
        """[(offset, length, bytes or None for a hole)], as they came."""
        pieces = []
        for chunk in self.chunks:
            if chunk.type == CHUNK_DATA:
                pieces.append((struct.unpack(">Q", chunk.payload[:8])[0], len(chunk.payload) - 8, chunk.payload[8:]))
            elif chunk.type == CHUNK_HOLE:
                pieces.append((*struct.unpack(">QI", chunk.payload), None))
        return pieces

    def bytes(self):
        """What a read brought; every byte exactly once, or it is an error."""
        if self.is_simple:
            return self.data
        at, whole = self.offset, bytearray()
        for offset, length, data in sorted(self.content(), key=lambda piece: piece[0]):
            assert offset == at, f"a gap or an overlap at {min(offset, at)}"
            whole += bytes(length) if data is None else data
            at += length
        assert at == self.offset + self.length, f"content up to {at}, asked for up to {self.offset + self.length}"
        return bytes(whole)

    def extents(self):
        """{context id: [(length, flags)]} of a block status."""
        found = {}
        for chunk in self.chunks:
            if chunk.type == CHUNK_STATUS:
                found.setdefault(struct.unpack(">I", chunk.payload[:4])[0], []).extend(
                    struct.iter_unpack(">II", chunk.payload[4:]))
            elif chunk.type == CHUNK_STATUS_EXT:
                found.setdefault(struct.unpack(">I", chunk.payload[:4])[0], []).extend(
                    struct.iter_unpack(">QQ", chunk.payload[8:]))
        return found

    def error_words(self):
        for chunk in self.chunks:
            if chunk.type & 0x8000:
                length, = struct.unpack(">H", chunk.payload[4:6])
                fixed = 14 if chunk.type == CHUNK_ERROR_OFFSET else 6
                assert length <= len(chunk.payload) - fixed, "the message is longer than its chunk"
                yield chunk.payload[6:6 + length]


class Talk(Connection):
    """A connection whose transmission phase knows all three forms."""

    def __init__(self, address, timeout_s):
        self.form, self.asked, self.next_cookie = SIMPLE, {}, 1
        super().__init__(address)
        self.socket.settimeout(timeout_s)
        if self.socket.family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def receive(self, count):
        try:
            return super().receive(count)
        except (ssl.SSLError, BrokenPipeError) as error:
            raise Closed(0, count) from error

    def send(self, data):
        try:
            super().send(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed(0, 0) from error

    def hears_no_more(self):
        """Whether the server closes; whatever it still says before that."""
        try:
            while self.socket.recv(65536):
                pass
            return True
        except TimeoutError:
            return False
        except OSError:
            return True

    def final(self, option, data=b""):
        """The type of the last reply to an option."""
        return self.option(option, data)[-1].type

    def names(self, option, export, *queries):
        """[(id, name)] of the metadata contexts that the reply has."""
        replies = self.option(option, meta_query(export, queries))
        assert replies[-1].type == REP_ACK, f"not acknowledged: {replies[-1].type:#x}"
        assert all(reply.type == REP_META_CONTEXT for reply in replies[:-1])
        return [(struct.unpack(">I", reply.data[:4])[0], reply.data[4:].decode()) for reply in replies[:-1]]

    def ask_later(self, command, offset=0, length=0, flags=0, payload=b"", cookie=None):
        if cookie is None:
            cookie = self.next_cookie
            self.next_cookie += 1
        if self.form == EXTENDED:
            if command == CMD_WRITE:
                flags |= FLAG_PAYLOAD_LEN
            head = struct.pack(">IHHQQQ", EXTENDED_REQUEST_MAGIC, flags, command, cookie, offset, length)
        else:
            head = struct.pack(">IHHQQI", REQUEST_MAGIC, flags, command, cookie, offset, length)
        self.asked[cookie] = command, offset, length
        self.send(head + payload)
        return cookie

    def ask(self, *arguments, **named):
        cookie = self.ask_later(*arguments, **named)
        answers = self.answers(1)
        assert list(answers) == [cookie], f"cookie {list(answers)}, not {cookie}"
        return answers[cookie]

    def write(self, offset, data, flags=0):
        return self.ask(CMD_WRITE, offset, len(data), flags, data)

    def answers(self, count):
        """{cookie: whole answer}, of @count requests; their chunks may mingle."""
        whole, parts = {}, {}
        while len(whole) < count:
            cookie, done = self.take_message(parts)
            if done:
                assert cookie not in whole, "answered twice"
                whole[cookie] = parts.pop(cookie)
                del self.asked[cookie]
        return whole

    def take_message(self, parts):
        """A simple reply, or a chunk. Returns its cookie and whether it is the last."""
        magic, = struct.unpack(">I", self.receive(4))
        if magic == SIMPLE_MAGIC:
            assert self.form != EXTENDED, "a simple reply, though extended headers are negotiated"
            error, cookie = struct.unpack(">IQ", self.receive(12))
        elif magic == CHUNK_MAGIC:
            assert self.form == STRUCTURED, f"a structured reply, though {self.form} ones are negotiated"
            flags, kind, cookie, length = struct.unpack(">HHQI", self.receive(16))
            offset = None
        else:
            assert magic == EXTENDED_CHUNK_MAGIC, f"no reply's magic: {magic:#x}"
            assert self.form == EXTENDED, f"an extended reply, though {self.form} ones are negotiated"
            flags, kind, cookie, offset, length = struct.unpack(">HHQQQ", self.receive(28))
        assert cookie in self.asked, f"a cookie of no request: {cookie:#x}"
        answer = parts.setdefault(cookie, Answer(self.asked[cookie]))
        if magic == SIMPLE_MAGIC:
            answer.is_simple, answer.error = True, error
            if answer.command == CMD_READ and error == 0:
                answer.data = self.receive(answer.length)
            return cookie, True
        answer.add(Chunk(flags, kind, offset, self.receive(length)))
        return cookie, bool(flags & CHUNK_DONE)


class Subject:
    def __init__(self, uri, timeout_s, read_only=None):
        """@read_only: the URI of a read-only export of the same server, or None."""
        parts = urlparse(uri)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        scheme, _, transport = parts.scheme.partition("+")
        if scheme not in ("nbd", "nbds") or transport not in ("", "tcp", "unix"):
            raise ValueError(f"{uri}: not the URI of an NBD server")
        self.address = query["socket"] if transport == "unix" else (parts.hostname, parts.port or 10809)
        self.export = unquote(parts.path[1:])
        self.timeout_s = timeout_s
        self.certificates = query.get("tls-certificates")
        self.is_tls, self.hostname = scheme == "nbds", query.get("tls-hostname", parts.hostname or "localhost")
        self.read_only_uri = read_only
        self.open = []

    def hang_up(self):
        while self.open:
            self.open.pop().close()
        if self.read_only_uri and "read_only" in self.__dict__:
            self.read_only.hang_up()

    # on the way

    def connect(self):
        talk = Talk(self.address, self.timeout_s)
        self.open.append(talk)
        return talk

    def secure(self, talk):
        context = ssl.create_default_context(cafile=os.path.join(self.certificates, "ca-cert.pem"))
        mine = os.path.join(self.certificates, "client-cert.pem")
        if os.path.exists(mine):
            context.load_cert_chain(mine, os.path.join(self.certificates, "client-key.pem"))
        talk.socket = context.wrap_socket(talk.socket, server_hostname=self.hostname)

    def greeted(self, flags=BOTH):
        """In the middle of option haggling; through TLS, if the URI says so."""
        talk = self.connect()
        talk.greet(flags)
        if self.is_tls:
            applies(flags & FIXED_NEWSTYLE, "TLS needs fixed newstyle")
            assert talk.final(OPT_STARTTLS) == REP_ACK
            self.secure(talk)
        return talk

    def haggling(self, form):
        """The form of replies is negotiated."""
        talk = self.greeted()
        if form != SIMPLE:
            applies(talk.final(FORM_OPTION[form]) == REP_ACK, f"no {form} replies")
            talk.form = form
        return talk

    def go(self, talk, *infos, export=None):
        replies = talk.option(OPT_GO, info_request(self.export if export is None else export, infos))
        assert replies[-1].type == REP_ACK, f"GO is refused: {replies[-1]}"
        talk.size, talk.flags = next(struct.unpack(">QH", reply.data[2:]) for reply in replies
                                     if reply.type == REP_INFO and reply.data[:2] == b"\0\0")
        return talk

    def transmission(self, form=SIMPLE, contexts=()):
        talk = self.haggling(form)
        if contexts:
            applies(form != SIMPLE, "no metadata without structured replies")
            applies(self.has_metadata(form), "no metadata contexts")
            talk.contexts = talk.names(OPT_SET_META_CONTEXT, self.export, *contexts)
            applies(talk.contexts, f"no {' or '.join(contexts)}")
        return self.go(talk, INFO_BLOCK_SIZE)

    def writable(self, form=SIMPLE, contexts=()):
        applies(not self.is_read_only, "the export is read-only")
        return self.transmission(form, contexts)

    def offering(self, command, form=SIMPLE):
        """In transmission, if the command is offered."""
        if command == CMD_BLOCK_STATUS:
            return self.transmission(STRUCTURED if form == SIMPLE else form, (ALLOCATION,))
        talk = self.writable(form) if command in CHANGING else self.transmission(form)
        applies(talk.flags & OFFERED_BY[command], f"no {COMMANDS[command]}")
        return talk

    # what it says of itself

    @functools.cached_property
    def read_only(self):
        """A read-only export: this one, or the other."""
        applies(self.is_read_only or self.read_only_uri, "no read-only export was given")
        return self if self.is_read_only else Subject(self.read_only_uri, self.timeout_s)

    @functools.cached_property
    def plain(self):
        return self.go(self.greeted())

    @property
    def is_read_only(self):
        return bool(self.plain.flags & READ_ONLY)

    @property
    def size(self):
        return self.plain.size

    @functools.cached_property
    def infos(self):
        """{type: data} of NBD_OPT_INFO with all that is defined."""
        replies = self.greeted().option(OPT_INFO, info_request(self.export, range(1, 4)))
        return {struct.unpack(">H", reply.data[:2])[0]: reply.data[2:] for reply in replies if reply.type == REP_INFO}

    @functools.cached_property
    def block_sizes(self):
        """Minimum, preferred, maximum payload; or what they are by default."""
        data = self.infos.get(INFO_BLOCK_SIZE)
        return struct.unpack(">III", data) if data else (1, 4096, 1 << 25)

    @property
    def unit(self):
        """Every length and offset that is a multiple of it is aligned."""
        return max(512, self.block_sizes[0])

    @functools.cached_property
    def listed(self):
        """[(name, description)] as LIST has them, as bytes."""
        replies = self.greeted().option(OPT_LIST)
        applies(replies[-1].type == REP_ACK, "LIST is refused")
        names = []
        for reply in replies[:-1]:
            length, = struct.unpack(">I", reply.data[:4])
            names.append((reply.data[4:4 + length], reply.data[4 + length:]))
        return names

    @functools.cached_property
    def knows_any_name(self):
        return self.greeted().final(OPT_INFO, info_request(self.unlikely)) == REP_ACK

    unlikely = "no-export-has-this-name"

    def unknown_name(self):
        applies(not self.knows_any_name, "every name is an export")
        return self.unlikely

    @functools.lru_cache(maxsize=None)
    def has_metadata(self, form):
        return self.haggling(form).final(OPT_LIST_META_CONTEXT, meta_query(self.export, ())) == REP_ACK

    def metadata(self, form=STRUCTURED):
        """Haggling, with a server that has metadata contexts."""
        applies(self.has_metadata(form), "no metadata contexts")
        return self.haggling(form)
