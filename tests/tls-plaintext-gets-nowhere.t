#!/bin/bash
# If this fails, somebody on the network keeps a client from TLS, or puts words into its mouth that the server obeys as if
# they had come through TLS.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/tls.sh"
needs python3

# python NAME: one test, the script is on stdin.
python()
{
	{ cat "$tmp/prelude.py"; cat; } >"$tmp/script.py"
	ok "$1" env "PYTHONPATH=$tests" PYTHONDONTWRITEBYTECODE=1 python3 "$tmp/script.py" "$tmp"
}

# ended PATTERN: one connection more than before has ended so.
ended()
{
	wait_until $ready_s test "$(said server "$1")" -ge "$2"
}

cat >"$tmp/prelude.py" <<'END'
import os, random, ssl, sys, time
from nbd_raw import *

FOLDER = sys.argv[1]


def server(name):
    return os.path.join(FOLDER, name)


def secure(connection, client="client", **limits):
    """The TLS handshake, as the client of that certificate; None: of none."""
    context = ssl.create_default_context(cafile=os.path.join(FOLDER, "ca", "ca-cert.pem"))
    if client:
        context.load_cert_chain(*(os.path.join(FOLDER, client, f"client-{what}.pem") for what in ("cert", "key")))
    for name, value in limits.items():
        setattr(context, name, value)
    connection.socket = context.wrap_socket(connection.socket, server_hostname="localhost",
                                            suppress_ragged_eofs=False)
    return connection


def types(replies):
    return [reply.type for reply in replies]


def fails(action):
    """Whether the server ends it. In TLS 1.3 a client learns it only when it reads."""
    try:
        action()
    except (ssl.SSLError, Closed, ConnectionError):
        return True
    return False


def starttls(address):
    connection = Connection(address)
    connection.greet()
    assert types(connection.option(OPT_STARTTLS)) == [REP_ACK]
    return connection
END

plan 15
make_authority "$tmp/ca"
make_authority "$tmp/other"
make_server_certificates "$tmp/ca" "$tmp/server"
make_certificates "$tmp/ca" "$tmp/client" client 'cn = "alice"' tls_www_client
make_certificates "$tmp/other" "$tmp/stranger" client 'cn = "alice"' tls_www_client
make_certificates "$tmp/ca" "$tmp/impostor" client 'cn = "alice"' tls_www_server
truncate -s 64M "$tmp/disk" "$tmp/disk2"
tls=(--tls-certificates "$tmp/server" --tls-verify-peer)
start_ready on '^vnbd-server: listening' "$build/vnbd-server" --verbose --listen "unix:$tmp/on" --tls on --tls-kernel off "${tls[@]}" \
	--export "open=$tmp/disk" --export "secret=$tmp/disk,tls"
start_server --verbose --listen "unix:$tmp/require" "${tls[@]}" --export "secret=$tmp/disk2"

python "before TLS, a server that requires it answers nothing else" <<'END'
with Connection(server("require")) as c:
    c.greet()
    for option, data in ((OPT_LIST, b""), (OPT_INFO, info_request("secret")), (OPT_GO, info_request("secret")),
                         (OPT_GO, info_request("nobody")), (OPT_STRUCTURED_REPLY, b""), (OPT_SET_META_CONTEXT, b""),
                         (0x7e57, b"?"), (OPT_GO, bytes(40000))):
        assert types(c.option(option, data)) == [ERR_TLS_REQD], option
    assert types(c.option(OPT_STARTTLS, b"x")) == [ERR_INVALID]
    assert types(c.option(OPT_ABORT)) == [REP_ACK]
    assert c.closed()
for flags in (FIXED_NEWSTYLE, 0):
    with Connection(server("require")) as c:
        c.greet(flags)
        assert fails(lambda: c.send_option(OPT_EXPORT_NAME, b"secret") or c.receive(1))
END

python "a server that offers it serves what needs no TLS, and hides the rest" <<'END'
with Connection(server("on")) as c:
    c.greet()
    assert [r.data for r in c.option(OPT_LIST)] == [b"\0\0\0\4open", b""]
    for name in ("secret", "nobody"):
        replies = [c.option(option, info_request(name)) for option in (OPT_INFO, OPT_GO)]
        assert types(replies[0]) == types(replies[1]) == [ERR_TLS_REQD]
        hidden = [replies[0][0].data, replies[1][0].data]
    assert hidden == [replies[0][0].data, replies[1][0].data]
    assert types(c.option(OPT_GO, info_request("open")))[-1] == REP_ACK
    assert c.ask(CMD_READ, 0, 512).data == bytes(512)
with Connection(server("on")) as c:
    c.greet()
    c.send_option(OPT_EXPORT_NAME, b"secret")
    assert c.closed()
END

python "through TLS, everything is there, and STARTTLS is invalid" <<'END'
for where in ("on", "require"):
    with starttls(server(where)) as c:
        secure(c)
        assert types(c.option(OPT_STARTTLS)) == [ERR_INVALID]
        assert b"\0\0\0\6secret" in [r.data for r in c.option(OPT_LIST)]
        assert types(c.option(OPT_GO, info_request("nobody"))) == [ERR_UNKNOWN]
        assert types(c.option(OPT_GO, info_request("secret")))[-1] == REP_ACK
        assert c.ask(CMD_WRITE, 4096, 3, data=b"abc")[:2] == (1, 0)
        assert c.ask(CMD_READ, 4095, 5).data == b"\0abc\0"
        c.disconnect()
        assert c.socket.recv(1) == b"", "the end is told"
END

python "an end in the handshake is told as one, too" <<'END'
for last, replies in ((option_bytes(OPT_ABORT), 1), (option_bytes(OPT_EXPORT_NAME, b"nobody"), 0),
                      (option_bytes(OPT_LIST, magic=7), 0)):
    with starttls(server("require")) as c:
        secure(c)
        c.send(last)
        assert [c.option_reply().type for _ in range(replies)] == [REP_ACK] * replies
        assert c.socket.recv(1) == b"", last
END

python "what was agreed before TLS is forgotten" <<'END'
# The injection that CVE-2021-3716 is about: an attacker agrees on something before the client's own STARTTLS.
for option in OPT_STRUCTURED_REPLY, OPT_EXTENDED_HEADERS:
    with Connection(server("on")) as c:
        c.greet()
        assert types(c.option(option)) == [REP_ACK]
        assert types(c.option(OPT_SET_META_CONTEXT, meta_query("open", ["base:allocation"])))[-1] == REP_ACK
        assert types(c.option(OPT_STARTTLS)) == [REP_ACK]
        secure(c)
        assert types(c.option(OPT_LIST_META_CONTEXT, meta_query("open", []))) == [ERR_INVALID], "nothing is agreed on"
        replies = c.option(OPT_GO, info_request("open"))
        assert replies[-1].type == REP_ACK
        flags = struct.unpack(">H", replies[0].data[-2:])[0]
        assert not flags & (1 << 7 | 1 << 12), "no DF, no payload of a block status"
        assert c.ask(CMD_READ, 0, 512).chunks == [], "a simple reply"
        assert c.ask(CMD_BLOCK_STATUS, 0, 512).error == EINVAL
with Connection(server("on")) as c:
    c.greet()
    c.option(OPT_STRUCTURED_REPLY)
    c.option(OPT_SET_META_CONTEXT, meta_query("open", ["base:allocation"]))
    c.option(OPT_STARTTLS)
    secure(c)
    assert types(c.option(OPT_STRUCTURED_REPLY)) == [REP_ACK]
    c.structured = True
    c.option(OPT_GO, info_request("open"))
    assert c.ask(CMD_BLOCK_STATUS, 0, 512).error == EINVAL, "the context went with the plaintext"
END

python "plaintext behind STARTTLS, in one piece with it, ends the connection" <<'END'
for what in (option_bytes(OPT_STRUCTURED_REPLY), option_bytes(OPT_GO, info_request("secret")), b"I", b"\x16\x03\x01",
             option_bytes(OPT_STARTTLS), bytes(8000)):
    with Connection(server("require")) as c:
        c.greet()
        c.send(option_bytes(OPT_STARTTLS) + what)
        assert c.option_reply().type == REP_ACK
        assert c.closed(), what
END
ok "and is called by its name" ended "plaintext behind the request for TLS" 6

python "plaintext in place of the TLS handshake ends it" <<'END'
for what in (option_bytes(OPT_STRUCTURED_REPLY), option_bytes(OPT_GO, info_request("secret")) + bytes(5000),
             b"GET / HTTP/1.0\r\n\r\n"):
    with starttls(server("require")) as c:
        c.send(what)
        rest = b""
        try:
            while got := c.socket.recv(4096):
                rest += got
        except ConnectionResetError:
            pass
        assert OPTION_REPLY_MAGIC.to_bytes(8, "big") not in rest, rest
        assert not rest or rest[0] == 21, "no more than an alert"
END

python "plaintext within TLS ends it, and is not obeyed" <<'END'
with starttls(server("require")) as c:
    plain = c.socket.dup()
    plain.settimeout(TIMEOUT_S)
    secure(c)
    assert types(c.option(OPT_GO, info_request("secret")))[-1] == REP_ACK
    assert c.ask(CMD_WRITE, 0, 6, data=b"before")[1] == 0
    plain.sendall(request_bytes(CMD_WRITE, 0, 6, cookie=9) + b"forged" + bytes(20000))
    assert fails(c.reply)
with starttls(server("require")) as c:
    secure(c)
    c.option(OPT_GO, info_request("secret"))
    assert c.ask(CMD_READ, 0, 6).data == b"before"
with starttls(server("require")) as c:
    plain = c.socket.dup()
    secure(c)
    plain.sendall(option_bytes(OPT_GO, info_request("secret")))
    assert fails(lambda: c.option(OPT_LIST)[:0] or c.option(OPT_LIST))
END

python "a certificate of nobody, of a stranger, or made for servers, gets nowhere" <<'END'
for who in (None, "stranger", "impostor"):
    connection = starttls(server("require"))
    assert fails(lambda: secure(connection, who).option(OPT_LIST)), who
END

python "TLS 1.2 works, 1.1 does not" <<'END'
with starttls(server("require")) as c:
    secure(c, maximum_version=ssl.TLSVersion.TLSv1_2)
    assert c.socket.version() == "TLSv1.2"
    c.option(OPT_GO, info_request("secret"))
    assert c.ask(CMD_READ, 0, 6).data == b"before"
connection = starttls(server("require"))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.minimum_version = ssl.TLSVersion.TLSv1
context.maximum_version = ssl.TLSVersion.TLSv1_1
context.set_ciphers("ALL:@SECLEVEL=0")
assert fails(lambda: context.wrap_socket(connection.socket))
END

python "a session cut anywhere, or with a bit turned, harms nobody" <<'END'
import socket, threading

class Between:
    """A man in the middle, who hands on what the client sends up to byte @cut; @flip: and the rest of that piece, with a
    bit turned. Then the stream ends."""
    def __init__(self, cut, flip):
        self.ours, theirs = socket.socketpair()
        self.theirs, self.cut, self.flip = theirs, cut, flip
        self.server = socket.socket(socket.AF_UNIX)
        self.server.connect(server("require"))
        for work in (self.up, self.down):
            threading.Thread(target=work, daemon=True).start()
    def up(self):
        passed = 0
        try:
            while got := self.theirs.recv(65536):
                if passed + len(got) > self.cut:
                    got = bytearray(got)
                    got[self.cut - passed] ^= 1 << self.cut % 8
                    self.server.sendall(got if self.flip else got[:self.cut - passed])
                    break
                passed += len(got)
                self.server.sendall(got)
            self.server.shutdown(socket.SHUT_WR)
        except OSError:
            pass
    def down(self):
        try:
            while got := self.server.recv(65536):
                self.theirs.sendall(got)
        except OSError:
            pass
        try:
            self.theirs.shutdown(socket.SHUT_WR)
        except OSError:
            pass

def session(cut, flip):
    between = Between(cut, flip)
    connection = Connection.__new__(Connection)
    connection.socket, connection.expected, connection.structured = between.ours, {}, False
    connection.socket.settimeout(TIMEOUT_S)
    try:
        connection.greet()
        connection.option(OPT_STARTTLS)
        secure(connection)
        connection.option(OPT_GO, info_request("secret"))
        assert connection.ask(CMD_READ, 0, 6).data == b"before"
        connection.ask(CMD_WRITE, 8192, 20000, data=b"w" * 20000)
        connection.disconnect()
    except (ssl.SSLError, Closed, ConnectionError, TimeoutError) as error:
        assert not isinstance(error, TimeoutError), cut
    finally:
        connection.close()
        between.theirs.close()
        between.server.close()

random.seed(1)
for cut in random.sample(range(2000), 40) + random.sample(range(22000), 20):
    for flip in (False, True):
        session(cut, flip)
with starttls(server("require")) as c:
    secure(c)
    c.option(OPT_GO, info_request("secret"))
    assert c.ask(CMD_READ, 0, 6).data == b"before"
END

ok "the kernel makes no records where it is not to" grep -qx "vnbd-server: TLS records are encrypted by GnuTLS" "$tmp/on.log"
ok "the server that requires TLS ends cleanly" stop server
ok "the one that offers it as well" stop on
