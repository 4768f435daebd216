#!/usr/bin/python3
# What brought other NBD servers and clients down, as it was published, done to ours. docs/security.md has the list.
# If this fails, an exploit that is years old works on vnbd-server or vnbd-client.
import itertools
import os
import random
import signal
import socket
import struct
import subprocess
import threading

from nbd_dialects import EXTENDED, STATUS, STRUCTURED, Client
from nbd_raw import *
from rig import BUILD, Rig, die_with_parent

BOTH = FIXED_NEWSTYLE | NO_ZEROES
PAYLOAD_MAX = 32 << 20
LARGE = 8 << 30  # bytes of a hole, more than a 32-bit length reaches


def greeted(server):
    connection = Connection(server.address)
    connection.greet()
    return connection


def serves(server):
    with Connection(server.address) as connection:
        connection.go("disk")
        return connection.ask(CMD_READ, 0, 4096).error == 0


def send_and_go(server, *messages):
    """A client that sends it all and is gone, whatever the server does meanwhile."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(server.address)
        try:
            for message in messages:
                client.sendall(message)
        except (BrokenPipeError, ConnectionResetError):
            pass


# ---- nbd-server


def long_requests(server):
    """A request whose data and header together overflow the buffer."""
    with Connection(server.address) as c:
        c.go("disk")
        assert len(c.ask(CMD_READ, 0, PAYLOAD_MAX).data) == PAYLOAD_MAX
        for length in (PAYLOAD_MAX + 1, 2**32 - 16, 2**32 - 1):
            assert c.ask(CMD_READ, 0, length).error == EINVAL
        assert c.ask(CMD_WRITE, 0, PAYLOAD_MAX, data=bytes(PAYLOAD_MAX)).error == 0
        assert c.ask(CMD_WRITE, 0, PAYLOAD_MAX + 1, data=bytes(PAYLOAD_MAX + 1)).error == EINVAL
        return c.ask(CMD_READ, 0, 512).error == 0


def address_is_no_prefix(server):
    """An export for 127.0.0.1 is none for 127.0.0.11; nor one for 127.0.0.64/26 for 127.0.0.6."""
    def sees(source, name):
        client = Connection.__new__(Connection)
        client.expected = {}
        client.socket = socket.create_connection(("127.0.0.1", server.ports()[0]), TIMEOUT_S, (source, 0))
        with client:
            client.greet()
            return client.option(OPT_INFO, info_request(name))[-1].type == REP_ACK

    assert sees("127.0.0.1", "one") and sees("127.0.0.70", "some")
    return not any(sees(source, name) for source, name in (
        ("127.0.0.11", "one"), ("127.0.0.100", "one"), ("127.0.0.6", "some"), ("127.0.0.128", "some")))


def hangs_up_in_negotiation(server):
    """Which ended the process that had bound the port. Or asks for an export that is not there."""
    send_and_go(server)
    send_and_go(server, struct.pack(">I", BOTH))
    send_and_go(server, struct.pack(">I", BOTH), option_bytes(OPT_EXPORT_NAME, b"nobody"))
    send_and_go(server, struct.pack(">I", BOTH), option_bytes(OPT_GO, info_request("nobody")))
    return serves(server)


def signals_while_busy(server):
    """Signal handlers that lock what they interrupt."""
    stop = threading.Event()

    def signals():
        while not stop.is_set():
            for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGWINCH, signal.SIGURG):
                os.kill(server.pid, number)

    thread = threading.Thread(target=signals)
    thread.start()
    try:
        for _ in range(200):
            send_and_go(server, struct.pack(">I", BOTH), option_bytes(OPT_EXPORT_NAME, b"nobody"))
        return serves(server)
    finally:
        stop.set()
        thread.join()


def name_of_4_gib(server):
    """A name's length that overflows when room for a NUL is added."""
    for option in (OPT_INFO, OPT_GO):
        with greeted(server) as c:
            for length in (2**32 - 1, 2**32 - 2, 2**31, 2**31 - 1):
                data = struct.pack(">I", length) + b"disk\0\0"
                assert c.option(option, data)[-1].type == ERR_INVALID
    with greeted(server) as c:
        c.send_option(OPT_EXPORT_NAME, b"disk", length=2**32 - 1)
        return c.closed() and serves(server)


def name_longer_than_its_buffer(server):
    """A name of more than 1024 bytes, in options of all sizes."""
    for option, length in itertools.product((OPT_INFO, OPT_GO), (1024, 1025, 4096, 8186)):
        with greeted(server) as c:
            kind = c.option(option, info_request("n" * length))[-1].type
            assert kind == (ERR_UNKNOWN if length <= 4096 else ERR_INVALID), (length, hex(kind))
    return serves(server)


# ---- qemu


def noise_in_negotiation(server):
    """Bytes that are no option: in place of the flags, of the magic number, of the length."""
    noise = random.Random(1)
    for _ in range(100):
        send_and_go(server, noise.randbytes(noise.randrange(200)))
        send_and_go(server, struct.pack(">I", BOTH), noise.randbytes(noise.randrange(200)))
        send_and_go(server, struct.pack(">I", BOTH), option_bytes(OPT_LIST)[:8], noise.randbytes(100))
    return serves(server)


def port_scan(server):
    """Connections that end before a word, in every way."""
    for reset in (False, True) * 50:
        client = socket.create_connection(("127.0.0.1", server.ports()[0]))
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    return serves(server)


def name_of_257_bytes(server):
    """Names past what servers of old had room for."""
    for length in (255, 256, 257, 3000, 4096):
        with greeted(server) as c:
            assert c.option(OPT_INFO, info_request("n" * length))[-1].type == ERR_UNKNOWN
            c.send_option(OPT_EXPORT_NAME, b"n" * length)
            assert c.closed()
    return serves(server)


def gigabytes_of_options(server):
    """Options whose data the server would read for minutes, only to throw it away."""
    for option in (0x7E57, OPT_LIST, OPT_GO, OPT_SET_META_CONTEXT):
        with greeted(server) as c:
            c.send_option(option, length=2**32 - 1)
            assert c.closed()
    with greeted(server) as c:
        sent = 0
        try:
            while sent < 1 << 30:
                c.send(option_bytes(0x7E57, bytes(64 << 10)))
                c.option_reply()
                sent += 64 << 10
        except (Closed, BrokenPipeError):
            pass
        return sent < 1 << 30 and serves(server)


def longest_strings(server):
    """Requests close to the longest, whose errors quote them and grow past what is allowed."""
    with greeted(server) as c:
        assert c.option(OPT_STRUCTURED_REPLY)[-1].type == REP_ACK
        for option, data in ((OPT_INFO, info_request("n" * 4096)), (OPT_GO, info_request("\u1234" * 1365)),
                             (OPT_LIST_META_CONTEXT, meta_query("n" * 4096, ["q" * 4080])),
                             (OPT_SET_META_CONTEXT, meta_query("disk", ["base:" + "q" * 4091, "x" * 4000])),
                             (0x7E57, b"q" * 8192)):
            assert len(c.option(option, data)[-1].data) <= 4096
        c.option(OPT_GO, info_request("disk"))
        return len(c.ask(CMD_READ, 0, 512).data) == 512


def kept_open_at_shutdown(server):
    """Clients that keep their sockets when the server is taken down, in and after the handshake."""
    with Connection(server.address) as silent, greeted(server) as haggling, Connection(server.address) as idle:
        idle.go("disk")
        haggling.send_option(OPT_LIST)
        haggling.option_reply()
        silent.receive(4)
        return server.stop() == 0


# ---- nbdkit


def untouched_before_go(rig, server):
    """An export that is opened, or read, for a client that has not chosen it. A read would set the file's access time."""
    path = rig.path("untouched")
    os.utime(path, (1, 2))
    for _ in range(50):
        with greeted(server) as c:
            c.option(OPT_STRUCTURED_REPLY)
            c.option(OPT_LIST)
            c.option(OPT_SET_META_CONTEXT, meta_query("untouched", ["base:allocation"]))
            c.option(OPT_INFO, info_request("untouched", [1, 2, 3]))
            c.send(request_bytes(CMD_READ, 0, 4096))
            assert c.closed()
    before = os.stat(path)
    with Connection(server.address) as c:
        c.go("untouched")
        c.ask(CMD_READ, 0, 4096)
    return (before.st_atime, before.st_mtime) == (1, 2) and os.stat(path).st_atime > 1


def options_in_any_order(server):
    """Assertions that hold for clients in their right mind."""
    options = [(OPT_LIST, b""), (OPT_STRUCTURED_REPLY, b""), (OPT_EXTENDED_HEADERS, b""), (OPT_STARTTLS, b""),
               (OPT_LIST_META_CONTEXT, meta_query("disk", [])), (OPT_SET_META_CONTEXT, meta_query("disk", ["base:allocation"])),
               (OPT_SET_META_CONTEXT, meta_query("untouched", ["base:allocation"])), (OPT_INFO, info_request("disk")),
               (OPT_GO, info_request("nobody")), (0x7E57, b"?")]
    for some in itertools.permutations(options, 3):
        with greeted(server) as c:
            for option in some:
                c.option(*option)
            assert c.option(OPT_GO, info_request("disk"))[-1].type == REP_ACK
    return serves(server)


def largest_status(form):
    def check(server):
        """The longest block status there is, answered by one extent that is longer still."""
        client = Client(server.uri(), form, "large")
        longest = 2**32 - 1 if form == STRUCTURED else 2**64 - 1
        for offset, length in ((0, 2**32 - 1), (1, 2**32 - 2), (511, 2**32 - 512), (LARGE - 1, 1), (0, LARGE), (0, longest)):
            reply = client.ask(STATUS, offset, min(length, longest))
            assert reply.error == (0 if offset + length <= LARGE else EINVAL), (offset, length, reply)
        return client.ask(CMD_READ, 0, 512).error == 0

    return check


# ---- libnbd, as vnbd-client uses it


class HostileServer:
    """Says each of @words, hears at least so many bytes behind it, and hangs up."""

    def __init__(self, rig, *words):
        self.path = rig.path(f"hostile{random.randrange(1 << 30)}")
        self.heard = b""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.path)
        listening.listen()
        threading.Thread(target=self.serve, args=(listening, words), daemon=True).start()

    def serve(self, listening, words):
        while True:
            client, _ = listening.accept()
            client.settimeout(TIMEOUT_S)
            try:
                for word, count in words:
                    client.sendall(word)
                    got = b""
                    while len(got) < count:
                        more = client.recv(65536)
                        if not more:
                            break
                        got += more
                    self.heard += got
            except OSError:
                pass
            client.close()


# What a client answers it with: its flags, and an option without data.
AN_OPTION = 4 + 16
GREETING = struct.pack(">QQH", MAGIC, OPTION_MAGIC, BOTH)


def option_reply(option, kind, data=b""):
    return struct.pack(">QIII", 0x3E889045565A9, option, kind, len(data)) + data


def client_refuses(rig, server, words, scheme="nbd"):
    """Whether vnbd-client ends by itself, with an error that has @words and no signal."""
    uri = f"{scheme}+unix:///disk?socket={server.path}"
    client = subprocess.Popen([os.path.join(BUILD, "vnbd-client"), "--socket-path", rig.path("vhost"), uri],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              preexec_fn=die_with_parent)
    try:
        said, _ = client.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        client.kill()
        said = "still running"
    assert client.returncode == 1 and words in said, (client.returncode, said)
    return True


def negative_size(rig):
    """A size of more than 2^63: negative, to who takes it for signed."""
    def server_of(size):
        info = option_reply(OPT_GO, REP_INFO, struct.pack(">HQH", INFO_EXPORT, size, 1)) + option_reply(OPT_GO, REP_ACK)
        return HostileServer(rig, (GREETING, AN_OPTION), (option_reply(OPT_STRUCTURED_REPLY, ERR_UNSUP), 16), (info, 1000))

    return all(client_refuses(rig, server_of(size), "size") for size in (2**63, 2**64 - 1, 2**64 - 4096))


def server_gone_while_haggling(rig):
    """A server that is gone in the middle of the handshake."""
    structured = option_reply(OPT_STRUCTURED_REPLY, REP_ACK)
    return all(client_refuses(rig, HostileServer(rig, *words), "error: nbd+unix") for words in (
        [], [(GREETING[:9], 0)], [(GREETING, 0)], [(GREETING, AN_OPTION)], [(GREETING, AN_OPTION), (structured[:7], 0)],
        [(GREETING, AN_OPTION), (structured, 1)]))


def downgrade(rig):
    """A man in the middle who says that there is no TLS: not a word of what is asked for may follow in plaintext."""
    for words in ([(GREETING, AN_OPTION), (option_reply(OPT_STARTTLS, ERR_UNSUP), 1)],
                  [(GREETING, AN_OPTION), (option_reply(OPT_STARTTLS, ERR_POLICY), 1)], [(GREETING[:16] + b"\0\0", 1)]):
        server = HostileServer(rig, *words)
        assert client_refuses(rig, server, "TLS", "nbds")
        assert b"disk" not in server.heard, server.heard
    return True


with Rig() as rig:
    with open(rig.path("large"), "wb") as file:
        file.truncate(LARGE)
    server = rig.server("--listen", "127.0.0.1:0", "--export", "disk=" + rig.disk("disk", "64M"),
                        "--export", "untouched=" + rig.disk("untouched", "1M", fill=True),
                        "--export", "large=" + rig.path("large"),
                        "--export", f"one={rig.disk('one', '1M')},allow-address=127.0.0.1",
                        "--export", f"some={rig.disk('some', '1M')},allow-address=127.0.0.64/26")
    for flaws, check in {
            "CVE-2005-3534, CVE-2011-0530: long requests": long_requests,
            "CVE-2013-6410: addresses that begin like those allowed": address_is_no_prefix,
            "CVE-2013-7441: the end of a negotiation": hangs_up_in_negotiation,
            "CVE-2015-0847: signals while clients come and go": signals_while_busy,
            "CVE-2022-26495: a name's length of 2^32 - 1": name_of_4_gib,
            "CVE-2022-26496: names of more than 1024 bytes": name_longer_than_its_buffer,
            "CVE-2017-7539: noise in the negotiation": noise_in_negotiation,
            "CVE-2017-9524: a port scan": port_scan,
            "CVE-2017-15118: names of more than 256 bytes": name_of_257_bytes,
            "CVE-2017-15119: gigabytes of options": gigabytes_of_options,
            "CVE-2020-10761: the longest strings": longest_strings,
            "CVE-2019-14851: options in any order": options_in_any_order,
            "CVE-2025-47711, CVE-2025-47712: the longest block status (structured)": largest_status(STRUCTURED),
            "CVE-2025-47711, CVE-2025-47712: the longest block status (extended)": largest_status(EXTENDED)}.items():
        rig.ok(flaws, check(server) and serves(server))
    rig.ok("CVE-2019-14850: nothing of an export is touched before it is chosen", untouched_before_go(rig, server))
    rig.ok("CVE-2024-7409: sockets that are kept open at the end", kept_open_at_shutdown(server))
    rig.ok("CVE-2019-14842: no TLS where it was asked for", downgrade(rig))
    rig.ok("CVE-2021-20286: a server that is gone while the client haggles", server_gone_while_haggling(rig))
    rig.ok("CVE-2023-5215: a size of more than 2^63", negative_size(rig))
