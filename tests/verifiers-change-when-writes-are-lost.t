#!/usr/bin/python3
# An export's write verifier is the same for a server that was restarted or killed, and another when completed writes may have
# been lost.  If this fails, a client that reconnects sends nothing again and loses a guest's data, or sends all of it again for
# nothing.
import os
import signal
import subprocess

from nbd_raw import *
from operator_socket import Operator
from rig import Rig, skip_all

try:
    import nbd
except ImportError:
    skip_all("no python3-libnbd")

PREFIX = "vnbd:verifier:"


def contexts(server, export, option, *queries):
    """(id, name) of each."""
    with Connection(server.address) as connection:
        connection.greet()
        connection.option(OPT_STRUCTURED_REPLY)
        replies = connection.option(option, meta_query(export, queries))
        assert replies[-1].type == REP_ACK, replies
        return [(struct.unpack(">I", reply.data[:4])[0], reply.data[4:].decode()) for reply in replies[:-1]]


def verifier(server, export):
    (_, name), = contexts(server, export, OPT_SET_META_CONTEXT, PREFIX)
    assert name.startswith(PREFIX) and len(name) == len(PREFIX) + 16
    return name[len(PREFIX):]


with Rig() as rig:
    folder = rig.path("folder")
    os.mkdir(folder)
    for name in ("folder/file", "file", "volatile", "base", "device"):
        rig.disk(name, "1M")
    exports = {"file": rig.path("file"), "direct": "", "overlay": rig.path("base") + ",overlay=" + rig.path("over"),
               "forgotten": rig.path("base") + ",overlay=temporary", "memory": "memory:1M",
               "volatile": rig.path("volatile") + ",volatile=on"}
    exports["direct"] = rig.path("device") + ",cache=none"
    words = [word for name, spec in exports.items() for word in ("--export", f"{name}={spec}")]
    words += ["--export-dir", folder, "--control", "unix:" + rig.path("control")]
    kept, lost = ("file", "direct", "overlay"), ("forgotten", "memory", "volatile")

    server = rig.server(*words)
    first = {name: verifier(server, name) for name in exports}
    rig.same("every export has its own", len(exports), len(set(first.values())))
    rows = {row["name"]: row["verifier"] for row in Operator(rig.path("control")).ask("exports") if row["name"]}
    rig.same("operators are told the same", first, rows)
    for how in (signal.SIGTERM, signal.SIGKILL):
        server.stop(how)
        server = rig.server(*words)
        second = {name: verifier(server, name) for name in exports}
        rig.same(f"after {how.name}: the same for what is in files", [first[name] for name in kept], [second[name] for name in kept])
        rig.ok(f"after {how.name}: another for what ends with the process", not any(first[name] == second[name] for name in lost))
        first = second

    leaf = PREFIX + first["file"]
    base = "base:allocation"
    for queries, listed, chosen in (((), [base, leaf], []), (("vnbd:",), [leaf], [leaf]), ((PREFIX,), [leaf], [leaf]),
                                    ((leaf, base), [base, leaf], [base, leaf]), ((PREFIX + "0" * 16, "vnbd:x"), [], [])):
        rig.same(f"listed with {queries}", [(0, name) for name in listed], contexts(server, "file", OPT_LIST_META_CONTEXT, *queries))
        rig.same(f"selected with {queries}", [(1 if name == base else 2, name) for name in chosen],
                 contexts(server, "file", OPT_SET_META_CONTEXT, *queries))

    for headers in ("structured", "extended"):
        for wanted in ([leaf], [base, leaf]):
            client, found = nbd.NBD(), []
            if headers == "structured" and hasattr(client, "set_request_extended_headers"):
                client.set_request_extended_headers(False)
            for name in wanted:
                client.add_meta_context(name)
            client.connect_uri(server.uri("file"))
            client.block_status(65536, 4096, lambda name, at, extents, error: found.append((name, at, extents)))
            rig.same(f"block status, {headers} if libnbd can: {wanted}", (leaf, 4096, [65536, 0]),
                     next(entry for entry in found if entry[0] == leaf))
            rig.same("one answer for each", len(wanted), len(found))
            client.shutdown()
    with Connection(server.address) as connection:
        connection.greet()
        connection.option(OPT_EXTENDED_HEADERS)
        connection.option(OPT_SET_META_CONTEXT, meta_query("file", [PREFIX, base]))
        connection.option(OPT_GO, info_request("file"))
        for ids, types in (((2,), 1), ((2, 1), 2), ((), 0)):
            payload = struct.pack(">Q", 8192) + b"".join(struct.pack(">I", number) for number in ids)
            connection.send(struct.pack(">IHHQQQ", 0x21E41C71, 32, CMD_BLOCK_STATUS, 9, 0, len(payload)) + payload)
            got, done = [], False
            while not done:
                _, flags, kind, _, _, length = struct.unpack(">IHHQQQ", connection.receive(32))
                data, done = connection.receive(length), flags & 1
                if kind == 6:
                    got.append(struct.unpack(">II", data[:8]) + struct.unpack(">QQ", data[8:24]))
            rig.same(f"with a payload that names {ids}", ([(2, 1, 8192, 0)] if ids else [], types),
                     ([chunk for chunk in got if chunk[0] == 2], len(got)))

    # Another file in its place.
    server.stop()
    os.unlink(rig.path("file"))
    rig.disk("file", "1M")
    server = rig.server(*words)
    rig.ok("another file of the same name has another", verifier(server, "file") != first["file"])
    rig.same("and the others have theirs", first["direct"], verifier(server, "direct"))

    rig.same("the server ends", 0, server.stop())

    # A disk that cannot take what its cache holds.
    small = rig.path("small")
    os.mkdir(small)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", small], check=True)
    try:
        rig.disk("small/disk", "16M")
        server = rig.server("--export", f"full={small}/disk,volatile=on", "--export", "spared=" + rig.path("file"))
        before, spared = verifier(server, "full"), verifier(server, "spared")
        with Connection(server.address) as one, Connection(server.address) as two, Connection(server.address) as other:
            one.go("full")
            two.go("full")
            other.go("spared")
            one.ask(CMD_WRITE, 0, 1 << 20, data=b"n" * (1 << 20))
            rig.same("a flush of what does not fit fails", EIO, one.ask(CMD_FLUSH).error)
            after = verifier(server, "full")
            rig.ok("the verifier is another at once", after != before)
            rig.ok("and connections end, whoever's they are", one.closed() and two.closed())
            rig.same("other exports' do not", 0, other.ask(CMD_READ, 0, 512).error)
        rig.same("it changes once", after, verifier(server, "full"))
        rig.same("and only there", spared, verifier(server, "spared"))
        rig.ok("the log tells", "export 'full' may have lost writes" in server.log())
        rig.same("the server ends", 0, server.stop())
    finally:
        subprocess.run(["umount", "-l", small])
