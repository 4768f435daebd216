#!/usr/bin/python3
# If this fails, clients of another make or age cannot choose an export, or a wrong word from one confuses the server.
import struct

from nbd_raw import *
from rig import Rig


def listed(replies):
    """{name: description} of the replies to NBD_OPT_LIST."""
    out = {}
    for reply in replies[:-1]:
        length, = struct.unpack(">I", reply.data[:4])
        out[reply.data[4:4 + length].decode()] = reply.data[4 + length:].decode()
    return out


def infos(replies):
    return {struct.unpack(">H", r.data[:2])[0]: r.data[2:] for r in replies if r.type == REP_INFO}


def ends(rig, server, name, flags, *messages):
    """A client that greets with @flags and sends @messages is hung up on, and the server serves the next one."""
    with Connection(server.address) as connection:
        connection.greet(flags)
        for message in messages:
            try:
                connection.send(message)
            except (BrokenPipeError, ConnectionResetError):
                break
        closed = connection.closed()
    with Connection(server.address) as connection:
        size, _ = connection.go("a")
    rig.ok(name, closed and size == 1 << 20)


with Rig() as rig:
    server = rig.server("--export", f"a={rig.disk('a', '1M')},description=the first",
                        "--export", f"b={rig.disk('b', '2M')},readonly", "--export", f"ü={rig.disk('c', '3M')}")

    with Connection(server.address) as c:
        rig.same("the greeting offers fixed newstyle and no zeroes", FIXED_NEWSTYLE | NO_ZEROES, c.greet())
        rig.same("LIST names every export", {"a": "the first", "b": "", "ü": ""}, listed(c.option(OPT_LIST)))
        rig.same("LIST with data is invalid", [ERR_INVALID], [r.type for r in c.option(OPT_LIST, b"x")])
        rig.same("STARTTLS is refused: the server has no TLS", [ERR_POLICY], [r.type for r in c.option(OPT_STARTTLS)])
        rig.same("a metadata query before structured replies is invalid", [ERR_INVALID],
                 [r.type for r in c.option(OPT_LIST_META_CONTEXT, info_request("a"))])
        rig.same("an unknown option is not supported", [ERR_UNSUP], [r.type for r in c.option(0x7E57, b"some data")])
        rig.same("the largest option number as well", [ERR_UNSUP], [r.type for r in c.option(0xFFFFFFFF)])
        rig.same("a moderately oversized option is too big, and its data is skipped", [ERR_TOO_BIG],
                 [r.type for r in c.option(OPT_GO, bytes(40000))])
        rig.same("STRUCTURED_REPLY with data is invalid", [ERR_INVALID],
                 [r.type for r in c.option(OPT_STRUCTURED_REPLY, b"?")])
        rig.same("INFO of an unknown export", [ERR_UNKNOWN], [r.type for r in c.option(OPT_INFO, info_request("nix"))])
        rig.same("GO of an unknown export", [ERR_UNKNOWN], [r.type for r in c.option(OPT_GO, info_request("nix"))])
        for what, data in {
                "too short for a name's length": b"\0\0", "a name that reaches past the option": struct.pack(">IH", 9, 0),
                "more information requests than counted": info_request("a", [1]) + b"\0\0",
                "fewer information requests than counted": info_request("a", [1])[:-2],
                "a name's length near 2^32": struct.pack(">IH", 0xFFFFFFFE, 0)}.items():
            rig.same(f"INFO with {what} is invalid", [ERR_INVALID], [r.type for r in c.option(OPT_INFO, data)])
        info = infos(c.option(OPT_INFO, info_request("a", [INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE, 999])))
        rig.same("INFO tells the size", 1 << 20, struct.unpack(">QH", info[INFO_EXPORT])[0])
        rig.same("INFO tells name and description", (b"a", b"the first"), (info[INFO_NAME], info[INFO_DESCRIPTION]))
        minimum, preferred, maximum = struct.unpack(">III", info[INFO_BLOCK_SIZE])
        rig.ok("INFO tells block sizes: any, a power of two, 32 MiB",
               minimum == 1 and preferred >= 512 and preferred & (preferred - 1) == 0 and maximum == 32 << 20,
               (minimum, preferred, maximum))
        rig.same("INFO does not choose: GO of another export follows", 2 << 20,
                 struct.unpack(">QH", infos(c.option(OPT_GO, info_request("b")))[INFO_EXPORT])[0])
        rig.same("and then it reads", (0, bytes(512)), c.ask(CMD_READ, 0, 512)[1:3])

    with Connection(server.address) as c:
        rig.same("a name in UTF-8", 3 << 20, c.go("ü")[0])

    with Connection(server.address) as c:
        c.greet()
        rig.same("ABORT is acknowledged", [REP_ACK], [r.type for r in c.option(OPT_ABORT)])
        rig.ok("and the server hangs up", c.closed())
    with Connection(server.address) as c:
        c.greet()
        rig.same("ABORT with data as well", [REP_ACK], [r.type for r in c.option(OPT_ABORT, b"bye")])

    for flags, zeroes in ((FIXED_NEWSTYLE, 124), (FIXED_NEWSTYLE | NO_ZEROES, 0), (0, 124)):
        with Connection(server.address) as c:
            c.greet(flags)
            c.send_option(OPT_EXPORT_NAME, b"a")
            size, transmission = struct.unpack(">QH", c.receive(10))
            padding = c.receive(zeroes)
            reply = c.ask(CMD_READ, 0, 512)
            rig.ok(f"EXPORT_NAME with client flags {flags}: size, flags, {zeroes} zeroes, then transmission",
                   size == 1 << 20 and transmission & 1 and padding == bytes(zeroes) and not reply.error, (size, reply))
    with Connection(server.address) as c:
        c.greet()
        c.option(OPT_STRUCTURED_REPLY)
        c.structured = True
        c.send_option(OPT_EXPORT_NAME, b"a")
        rig.ok("EXPORT_NAME after STRUCTURED_REPLY offers DF", struct.unpack(">QH", c.receive(10))[1] & 1 << 7)
        rig.same("and reads in chunks", [CHUNK_HOLE], c.ask(CMD_READ, 0, 512).chunks)

    both = FIXED_NEWSTYLE | NO_ZEROES
    ends(rig, server, "unknown client flags end the connection", 0x80)
    ends(rig, server, "an option without its magic ends it", both, option_bytes(OPT_LIST, magic=OPTION_MAGIC ^ 1))
    ends(rig, server, "EXPORT_NAME of an unknown export ends it", both, option_bytes(OPT_EXPORT_NAME, b"nix"))
    ends(rig, server, "an option of 4 GiB ends it", both, option_bytes(OPT_GO, length=2**32 - 1))
    ends(rig, server, "an export name of 4 GiB ends it", both, option_bytes(OPT_EXPORT_NAME, length=2**32 - 1))
    with Connection(server.address) as c:
        c.greet()
        c.send(option_bytes(0x7E57) * 5000)
        answered = 0
        try:
            while answered < 5000:
                c.option_reply()
                answered += 1
        except Closed:
            pass
        rig.ok("options without end are not answered for ever", 100 <= answered < 5000, f"{answered} replies")

    with Connection(server.address) as c:  # everything in one go, as a client may that knows what it wants
        c.send(struct.pack(">I", both) + option_bytes(OPT_STRUCTURED_REPLY) + option_bytes(OPT_GO, info_request("a")) +
               request_bytes(CMD_WRITE, 4096, 5, cookie=1) + b"hello" + request_bytes(CMD_READ, 4096, 5, cookie=2))
        c.receive(18)
        replies = [c.option_reply() for _ in range(3)]
        c.expected = {1: 0, 2: 5}
        got = sorted([c.reply(), c.reply()])
        rig.same("handshake and requests may come in one piece", ([REP_ACK, REP_INFO, REP_ACK], [(1, 0), (2, 0)]),
                 ([r.type for r in replies], [r[:2] for r in got]))
        rig.same("and what they wrote is there", b"hello", c.ask(CMD_READ, 4096, 5).data)
