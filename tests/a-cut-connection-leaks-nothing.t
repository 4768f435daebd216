#!/usr/bin/python3
# If this fails, clients that vanish (a crashed host, a pulled cable) use up the server's descriptors or memory, or stall
# those that are still there.
import itertools
import socket
import struct

from nbd_raw import *
from rig import Rig, wait_until

BOTH = FIXED_NEWSTYLE | NO_ZEROES
EXTENDED_REQUEST_MAGIC, FLAG_PAYLOAD_LEN = 0x21E41C71, 32


def plain_session():
    """A whole conversation, as a client sends it that knows the answers: handshake, every command, disconnect."""
    return b"".join([
        struct.pack(">I", BOTH), option_bytes(OPT_LIST), option_bytes(OPT_STRUCTURED_REPLY),
        option_bytes(OPT_INFO, info_request("disk", [INFO_BLOCK_SIZE])), option_bytes(0x7E57, b"what?"),
        option_bytes(OPT_GO, info_request("disk", [INFO_NAME])),
        request_bytes(CMD_WRITE, 0, 100, cookie=1) + b"w" * 100, request_bytes(CMD_READ, 0, 512, cookie=2),
        request_bytes(CMD_WRITE, 512, 24, cookie=3, flags=FLAG_FUA) + b"f" * 24, request_bytes(CMD_FLUSH, cookie=4),
        request_bytes(CMD_TRIM, 4096, 4096, cookie=5), request_bytes(CMD_WRITE_ZEROES, 8192, 4096, cookie=6),
        request_bytes(CMD_CACHE, 0, 4096, cookie=7), request_bytes(99, 0, 0, cookie=8), request_bytes(CMD_DISC),
    ])


def extended_session():
    """The same with extended headers and a metadata context."""
    def request(command, offset=0, length=0, payload=b""):
        flag = FLAG_PAYLOAD_LEN if payload else 0
        return struct.pack(">IHHQQQ", EXTENDED_REQUEST_MAGIC, flag, command, 1, offset, len(payload) or length) + payload

    contexts = meta_query("disk", ["base:allocation"])
    return b"".join([
        struct.pack(">I", BOTH), option_bytes(OPT_STRUCTURED_REPLY), option_bytes(OPT_EXTENDED_HEADERS),
        option_bytes(OPT_LIST_META_CONTEXT, contexts), option_bytes(OPT_SET_META_CONTEXT, contexts),
        option_bytes(OPT_GO, info_request("disk")),
        request(CMD_WRITE, 0, payload=b"w" * 100), request(CMD_READ, 0, 512), request(CMD_BLOCK_STATUS, 0, 4 << 20),
        request(CMD_BLOCK_STATUS, 0, payload=struct.pack(">QI", 4 << 20, 1)), request(CMD_CACHE, 0, payload=b"no payload"),
        request(CMD_WRITE_ZEROES, 0, 4 << 20), request(CMD_WRITE_ZEROES, 0, 1 << 40), request(CMD_FLUSH), request(CMD_DISC),
    ])


def cut(server, data, reset):
    """Sends @data and is gone; with @reset, at once and without a word (unread replies make TCP reset)."""
    client = socket.create_connection(("127.0.0.1", server.ports()[0])) if reset else socket.socket(socket.AF_UNIX)
    if reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        client.connect(server.address)
    try:
        client.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass
    client.close()


def cut_while_busy(server):
    """Hundreds of large reads asked for and none taken, and a write whose data does not come."""
    client = Connection(server.address)
    client.go("disk")
    client.send(b"".join(request_bytes(CMD_READ, 0, 1 << 20, cookie) for cookie in range(200)) +
                request_bytes(CMD_WRITE, 0, 1 << 20, 999) + b"half" * 1000)
    client.close()


def serves(other):
    return other.ask(CMD_READ, 1 << 20, 4096).data == bytes(4096)


with Rig() as rig:
    server = rig.server("--listen", "127.0.0.1:0", "--export", "disk=" + rig.disk("disk", "4M"))
    other = Connection(server.address)
    other.go("disk")
    before = server.descriptors()
    for (kind, data), reset in itertools.product(
            (("plain", plain_session()), ("extended", extended_session())), (False, True)):
        how = f"{kind}, reset" if reset else f"{kind}, closed"
        served = True
        for length in range(len(data) + 1):
            cut(server, data[:length], reset)
            if length % 32 == 0:
                served = served and serves(other)
        rig.ok(f"{how} after each of {len(data)} bytes: another client is served all the time", served)
        rig.ok(f"{how}: all descriptors come back", wait_until(lambda: server.descriptors() <= before),
               f"{before} before, {server.descriptors()} after")
    for _ in range(20):
        cut_while_busy(server)
    rig.ok("gone with hundreds of replies unread: another client is served", serves(other))
    rig.ok("gone with hundreds of replies unread: all descriptors come back",
           wait_until(lambda: server.descriptors() <= before), f"{before} before, {server.descriptors()} after")
    silent = [socket.socket(socket.AF_UNIX) for _ in range(50)]
    for client in silent:
        client.connect(server.address)
    rig.ok("fifty clients that say nothing: another one is served", serves(other))
    for client in silent:
        client.close()
    rig.ok("and their descriptors come back", wait_until(lambda: server.descriptors() <= before))
    other.disconnect()
    rig.same("the server then ends as it should", 0, server.stop())
