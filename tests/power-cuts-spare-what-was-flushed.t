#!/usr/bin/python3
# When the power of an export is cut, what was flushed or written with FUA is there afterwards, everything else is a version
# that somebody wrote, and no client takes what is lost for done.  If this fails, people who test their databases with
# power cuts look for a fault of ours.
import random

from nbd_raw import *
from operator_socket import Operator
from rig import Rig, skip_all, wait_until

try:
    import nbd
except ImportError:
    skip_all("no python3-libnbd")

BLOCK, BLOCKS = 4096, 64
SIZE = BLOCK * BLOCKS


def connect(server, name):
    client = nbd.NBD()
    client.connect_uri(server.uri(name))
    return client


def write_some(client, rng, seen, survives, count):
    """Whole blocks of one number each; keeps the model: what a block may be read as, and be found as after a cut."""
    for _ in range(count):
        block, length = rng.randrange(BLOCKS), rng.randrange(1, 5)
        length, value = min(length, BLOCKS - block), rng.randrange(1, 256)
        fua = rng.random() < 0.2
        client.pwrite(bytes([value]) * (length * BLOCK), block * BLOCK, nbd.CMD_FLAG_FUA if fua else 0)
        for at in range(block, block + length):
            seen[at] = {value}
            survives[at] = {value} if fua else survives[at] | {value}
        if rng.random() < 0.1:
            client.flush()
            survives[:] = [set(block) for block in seen]


def values(data, grain):
    """The number in each @grain bytes; -1 where there are several."""
    parts = [data[at:at + grain] for at in range(0, len(data), grain)]
    return [part[0] if part == part[:1] * grain else -1 for part in parts]


with Rig() as rig:
    path = rig.path("control")
    exports = {"file": rig.disk("file", str(SIZE)) + ",volatile=on",
               "direct": rig.disk("direct", str(SIZE)) + ",volatile=on,cache=none",
               "small": rig.disk("small", str(SIZE)) + ",volatile=64K",
               "memory": f"memory:{SIZE},volatile=on",
               "overlay": rig.disk("base", str(SIZE)) + ",volatile=on,overlay=" + rig.path("overlay"),
               "through": rig.disk("through", str(SIZE)) + ",volatile=on,cache=writethrough",
               "unsafe": rig.disk("unsafe", str(SIZE)) + ",volatile=on,cache=unsafe",
               "other": rig.disk("other", str(SIZE))}
    words = [word for name, spec in exports.items() for word in ("--export", f"{name}={spec}")]
    server = rig.server("--control", "unix:" + path, "--workers", "2", *words)
    control = Operator(path)
    other = connect(server, "other")

    for name in ("file", "direct", "small", "memory", "overlay"):
        rng = random.Random(name)
        seen, survives = [{0} for _ in range(BLOCKS)], [{0} for _ in range(BLOCKS)]
        totals, faults, seed_of_fault = {"kept": 0, "lost": 0, "torn": 0}, 0, None
        for seed in range(12):
            client = connect(server, name)
            write_some(client, rng, seen, survives, 25)
            found = values(client.pread(SIZE, 0), BLOCK)
            faults += sum(value not in may for value, may in zip(found, seen))
            how = {"keep": ("none", "all", "random", "random")[seed % 4]}
            if seed % 4 in (1, 3):
                how["torn"] = 512 if seed % 8 > 4 else 4096
            result = control.ask("powercut", export=name, seed=seed, **how)
            for key in totals:
                totals[key] += result[key]
            client = connect(server, name)
            grain = how.get("torn", BLOCK)
            found = values(client.pread(SIZE, 0), grain)
            wrong = [at for at, value in enumerate(found) if value not in survives[at * grain // BLOCK]]
            faults += len(wrong)
            parts = BLOCK // grain
            # What was found is there to stay: one version a block again, for the model's sake.
            client.pwrite(b"".join(bytes([value]) * BLOCK for value in found[::parts]), 0, nbd.CMD_FLAG_FUA)
            seen = [{value} for value in found[::parts]]
            survives = [set(block) for block in seen]
            client.shutdown()
        rig.same(f"{name}: twelve power cuts, and each block has a version that it may have", 0, faults)
        rig.ok(f"{name}: some writes were kept, some lost, some torn", min(totals.values()) > 0, totals)

    # Two versions of one block, both kept: either may be on top.
    tops = set()
    for seed in range(60):
        client = connect(server, "memory")
        for value in (b"1", b"2"):
            client.pwrite(value * BLOCK, 0)
        result = control.ask("powercut", export="memory", keep="random", seed=seed)
        found = connect(server, "memory").pread(1, 0)
        if (result["kept"], result["lost"]) == (2, 0):
            tops.add(bytes(found))
    rig.same("what is kept reaches the disk in any order", {b"1", b"2"}, tops)

    # More than the cache has room for.
    client = connect(server, "small")
    client.pwrite(b"." * SIZE, 0, nbd.CMD_FLAG_FUA)
    for block in range(BLOCKS):
        client.pwrite(b"x" * BLOCK, block * BLOCK)
    control.ask("powercut", export="small")
    found = connect(server, "small").pread(SIZE, 0)[::BLOCK]
    left = found.count(b"x")
    rig.ok("when the cache is full the oldest reach the disk", found == b"x" * left + b"." * (BLOCKS - left), found)
    rig.ok("as many as have no room, at least", BLOCKS - 16 <= left < BLOCKS, left)

    client = connect(server, "through")
    client.pwrite(b"t" * SIZE, 0)
    rig.same("with writethrough there is nothing to lose", (0, 0), (control.export("through")["volatile"]["writes"],
                                                                   control.ask("powercut", export="through")["lost"]))
    rig.ok("and nothing is lost", connect(server, "through").pread(SIZE, 0) == b"t" * SIZE)

    # The proof that the test can fail.
    client = connect(server, "unsafe")
    client.pwrite(b"u" * SIZE, 0)
    client.flush()
    client.pwrite(b"v" * BLOCK, 0, nbd.CMD_FLAG_FUA)
    rig.ok("with unsafe, flushed data is seen while the power is on", client.pread(BLOCK, BLOCK) == b"u" * BLOCK)
    rig.same("but a power cut loses it", 2, control.ask("powercut", export="unsafe")["lost"])
    rig.ok("all of it", connect(server, "unsafe").pread(SIZE, 0) == bytes(SIZE))

    # Clients.
    other.pwrite(b"o" * BLOCK, 0)
    before = control.export("file")["verifier"]
    one, two = Connection(server.address), Connection(server.address)
    one.go("file")
    two.go("file")
    rig.same("a write is done", 0, one.ask(CMD_WRITE, 0, BLOCK, data=b"w" * BLOCK).error)
    for cookie in range(40):  # some are in flight when the power goes
        two.request(CMD_WRITE, cookie % BLOCKS * BLOCK, BLOCK, cookie=cookie, data=b"x" * BLOCK)
    result = control.ask("powercut", export="file", down=600)
    rig.same("the answer tells for how long there is no power", 600, result["down"])
    rig.ok("a connection is closed", one.closed())
    rig.ok("no reply comes that is not of a write that was done", "cut" not in replies_until_end(two))
    rig.ok("the verifier is another", result["verifier"] != before and control.export("file")["verifier"] == result["verifier"])
    rig.same("the export is down", True, control.export("file")["down"])
    with Connection(server.address) as late:
        late.greet()
        late.option(OPT_STRUCTURED_REPLY)
        rig.same("who comes is refused", (ERR_UNKNOWN, b"the export has no power now"),
                 tuple(late.option(OPT_GO, info_request("file"))[-1][1:]))
        rig.same("who asks, too", ERR_UNKNOWN, late.option(OPT_INFO, info_request("file"))[-1].type)
        rig.same("and for metadata contexts", ERR_UNKNOWN, late.option(OPT_SET_META_CONTEXT, meta_query("file", ["vnbd:"]))[-1].type)
        rig.same("others are served on the same connection", REP_ACK, late.option(OPT_INFO, info_request("other"))[-1].type)
        late.send_option(OPT_EXPORT_NAME, b"file")
        rig.ok("the old way to choose ends the connection", late.closed())
    rig.same("it has no power to lose", "export 'file': it has no power already", control.refused("powercut", export="file"))
    rig.ok("another export's connection has not noticed", other.pread(BLOCK, 0) == b"o" * BLOCK)

    control.ask("powercut", export="memory", down=0.3)
    def is_back():
        try:
            return connect(server, "memory")
        except nbd.Error:
            return None
    rig.ok("the power comes back by itself", wait_until(is_back) and not control.export("memory")["down"])

    half = Connection(server.address)
    half.greet()
    half.option(OPT_STRUCTURED_REPLY)
    half.option(OPT_SET_META_CONTEXT, meta_query("memory", ["vnbd:verifier:"]))
    control.ask("powercut", export="memory")
    rig.ok("a handshake that was told the old verifier is closed", half.closed())

    for arguments, why in (({"export": "nobody"}, "no export of that name"),
                           ({"export": "other"}, "export 'other': it has no volatile cache (volatile=on)"),
                           ({"export": "memory", "keep": "some"}, "'keep' is none, all or random"),
                           ({"export": "memory", "keep": "all", "torn": 1024}, "'torn' is the size of a sector, 512 or 4096"),
                           ({"export": "memory", "torn": 512}, "'torn' is for writes that are kept: with keep all or random"),
                           ({"export": "memory", "down": 1e9}, "'down' is a day at most, in seconds")):
        rig.same(f"refused: {why}", why, control.refused("powercut", **arguments))

    client = connect(server, "small")
    client.pwrite(b"s" * BLOCK, 0)
    rig.ok("what is written is not in the file", open(rig.path("small"), "rb").read(BLOCK) != b"s" * BLOCK)
    rig.same("the server ends while an export is down", 0, server.stop())
    rig.ok("and has written back what it held", open(rig.path("small"), "rb").read(BLOCK) == b"s" * BLOCK)
