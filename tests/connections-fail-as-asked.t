#!/usr/bin/python3
# A rule for accept or handshake meets a connection before it has an export: it waits, is closed, or is never answered.
# If this fails, a client's patience with a server that accepts and then falters is tested by one that does not.
import select
import socket
import time

import nbd
import nbd_raw
from nbd_raw import Connection
from rig import Rig, wait_until


def answers(connection):
    """Whether the client gets a whole handshake and a read."""
    connection.go()
    return connection.ask(nbd_raw.CMD_READ, 0, 512).error == 0


def is_silent(connection, seconds=0.3):
    return not select.select([connection.socket], [], [], seconds)[0]


def serve(rig, *rules):
    return rig.server("--export", "=memory:1M", *(word for rule in rules for word in ("--fault", rule)))


def closing(rig):
    server = serve(rig, "accept every 2: close", "handshake connection 3: close")
    with Connection(server.address) as first, Connection(server.address) as second:
        rig.ok("accept: close: the second is closed without a word", second.closed())
        rig.ok("the first is not", answers(first))
    third = Connection(server.address)
    third.greet()
    rig.ok("handshake: close: greeted, and closed then", third.closed())
    rig.ok("the log tells of each", "fault 1 of the server (accept every 2: close): accept, unix," in server.log() and
           "fault 2 of the server (handshake connection 3: close): handshake, unix," in server.log())


ERRORS = {"UNSUP": nbd_raw.ERR_UNSUP, "POLICY": nbd_raw.ERR_POLICY, "INVALID": nbd_raw.ERR_INVALID,
          "PLATFORM": nbd_raw.ERR_PLATFORM, "TLS_REQD": nbd_raw.ERR_TLS_REQD, "UNKNOWN": nbd_raw.ERR_UNKNOWN,
          "SHUTDOWN": nbd_raw.ERR_SHUTDOWN, "BLOCK_SIZE_REQD": nbd_raw.ERR_BLOCK_SIZE_REQD, "TOO_BIG": nbd_raw.ERR_TOO_BIG,
          "EXT_HEADER_REQD": nbd_raw.ERR_EXT_HEADER_REQD}


def refusing(rig):
    server = serve(rig, *(f"handshake connection {number}: error {name}" for number, name in enumerate(ERRORS, 1)),
                   "handshake after 10 times 3: error POLICY", "handshake connection 13: delay 1ms")
    for name, error in ERRORS.items():
        with Connection(server.address) as client:
            client.greet()
            replies = client.option(nbd_raw.OPT_GO, nbd_raw.info_request(""))
            rig.same(f"handshake: error {name}: and nothing else", [(error, b"a fault rule refuses this")],
                     [reply[1:] for reply in replies])
    with Connection(server.address) as client:
        client.greet()
        client.option(nbd_raw.OPT_STRUCTURED_REPLY)
        asked = [(nbd_raw.OPT_INFO, nbd_raw.info_request("")), (nbd_raw.OPT_GO, nbd_raw.info_request("nobody")),
                 (nbd_raw.OPT_SET_META_CONTEXT, nbd_raw.meta_query("", ["base:allocation"])),
                 (nbd_raw.OPT_LIST_META_CONTEXT, nbd_raw.meta_query("", []))]
        rig.same("every option that names an export is refused", [nbd_raw.ERR_POLICY] * len(asked),
                 [client.option(*option)[-1].type for option in asked])
        rig.same("others are answered", nbd_raw.REP_ACK, client.option(nbd_raw.OPT_LIST)[-1].type)
        client.send_option(nbd_raw.OPT_EXPORT_NAME)
        rig.ok("the one that has no such answer ends the connection", client.closed())
    handle = nbd.NBD()
    try:
        handle.connect_uri(server.uri())
        said = "connected"
    except nbd.Error as error:
        said = str(error)
    rig.ok("a client is told why", "a fault rule refuses this" in said or "policy" in said.lower(), said)
    with Connection(server.address) as late:
        late.greet()
        rig.same("delayed and refused", nbd_raw.ERR_POLICY, late.option(nbd_raw.OPT_GO, nbd_raw.info_request(""))[-1].type)
    with Connection(server.address) as usual:
        rig.ok("three times: the next is served", answers(usual))


def waiting(rig):
    server = serve(rig, "accept once: delay 400ms", "handshake once: delay 400ms")
    begun = time.monotonic()
    with Connection(server.address) as late:
        late.receive(18)
        accepted = time.monotonic() - begun
        late.send(b"\0\0\0\3" + nbd_raw.option_bytes(nbd_raw.OPT_GO, nbd_raw.info_request("")))
        late.receive(20)
        rig.ok("accept: delay: the greeting comes late", accepted >= 0.4, accepted)
        rig.ok("handshake: delay: and so does what is answered", time.monotonic() - begun >= 0.8)
    with Connection(server.address) as usual:
        rig.ok("once: the next is served at once", answers(usual))


def stalling(rig):
    server = serve(rig, "accept connection 1: hold", "handshake connection 2: hold", "accept connection 3: blackhole",
                   "handshake connection 4: blackhole")
    silent = [Connection(server.address) for _ in range(4)]
    for index in (1, 3):
        silent[index].greet()
        silent[index].send_option(nbd_raw.OPT_GO, nbd_raw.info_request(""))
    silent[2].send(bytes(100))
    with Connection(server.address) as other:
        rig.ok("held up or swallowed, they keep nobody else", answers(other))
    rig.ok("no answer to any of them", all(map(is_silent, silent)))
    silent[3].send(bytes(1 << 20))
    rig.ok("a black hole swallows what it gets", is_silent(silent[3]))
    before = server.descriptors()
    silent[0].close()
    silent[1].close()
    rig.ok("who hangs up meanwhile is gone", wait_until(lambda: server.descriptors() == before - 2))
    rig.same("the server ends, for all that", 0, server.stop())
    rig.ok("and closes them", silent[2].closed() and silent[3].closed())


def pouring(rig):
    """More than the server keeps of one who is held up."""
    server = serve(rig, "handshake connection 1: delay 400ms")
    with Connection(server.address) as client:
        client.greet()
        client.send(nbd_raw.option_bytes(0x7E57) * 3000)
        answered = [client.option_reply().type for _ in range(3000)]
        rig.same("who says much meanwhile is answered in the end", [nbd_raw.ERR_UNSUP] * 3000, answered)


def outlasting(rig):
    server = rig.server("--export", "=memory:1M", "--handshake-timeout", "2", "--fault", "accept connection 1: blackhole",
                        "--fault", "accept connection 2: delay 2300ms")
    with Connection(server.address) as hole, Connection(server.address) as late:
        rig.ok("a delay may be longer than a handshake", answers(late))
        rig.ok("a black hole outlives the deadline of handshakes", is_silent(hole, 0.2))


with Rig() as rig:
    for part in (closing, refusing, waiting, stalling, pouring, outlasting):
        part(rig)
