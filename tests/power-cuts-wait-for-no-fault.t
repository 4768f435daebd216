#!/usr/bin/python3
# What a fault rule holds up when an export's power is cut goes down with it: the cut comes at once, nothing of before is
# answered or reaches the disk afterwards, and what was on the disk is in a state that a disk may leave it in.
# If this fails, who tests with both gets a server that hangs, or blames their own code for a write of ours.
import time

from nbd_raw import *
from operator_socket import Operator
from rig import Rig, wait_until

BLOCK = 4096
HOUR = ",fault=write 0+4K: ghost 1h,fault=write 4K+4K: delay 1h,fault=write 8K+4K: hold,fault=write 12K+4K: reorder," \
       "fault=write 16K+4K: blackhole,fault=read 20K+4K: delay 1h,fault=flush: hold"
AT_ONCE_S = 15  # a busy machine; a ghost would take an hour, and an answer is waited for four times as long


def dial(server, name):
    connection = Connection(server.address)
    connection.go(name)
    return connection


def blocks(data):
    return [data[at:at + 1] if data[at:at + BLOCK] == data[at:at + 1] * BLOCK else b"mixed"
            for at in range(0, len(data), BLOCK)]


with Rig() as rig:
    path, file = rig.path("control"), rig.disk("disk", "1M")
    server = rig.server("--control", "unix:" + path, "--export", "a=" + file + ",volatile=on" + HOUR,
                        "--export", "held=" + rig.disk("held", "64k") + ",volatile=on,cache=none",
                        "--export", "lied=" + rig.disk("lied", "64k") + ",volatile=on",
                        "--export", "b=" + rig.disk("other", "64k") + ",fault=write: ghost 1h")
    control = Operator(path)

    def fired(export):
        return {row["rule"]: row["fired"] for row in control.ask("fault-list", export=export)}

    def cut(export, **how):
        begun = time.monotonic()
        result = control.ask("powercut", export=export, **how)
        return result, time.monotonic() - begun

    # Each kind of hold-up, on a connection of its own.
    waiting = []
    for command, offset in ((CMD_WRITE, 0), (CMD_WRITE, BLOCK), (CMD_WRITE, 2 * BLOCK), (CMD_WRITE, 3 * BLOCK),
                            (CMD_WRITE, 4 * BLOCK), (CMD_READ, 5 * BLOCK), (CMD_FLUSH, 0)):
        waiting.append(dial(server, "a"))
        waiting[-1].request(command, offset, 0 if command == CMD_FLUSH else BLOCK,
                            data=b"x" * BLOCK if command == CMD_WRITE else b"")
    rig.ok("seven requests are held up", wait_until(lambda: all(fired("a").values())), fired("a"))
    other = dial(server, "b")
    other.request(CMD_WRITE, 0, BLOCK, data=b"g" * BLOCK)
    rig.ok("a ghost waits in another export", wait_until(lambda: all(fired("b").values())) and other.closed())
    result, took = cut("a", keep="all")
    rig.ok("the cut waits for none of them", took < AT_ONCE_S, took)
    rig.same("and none is answered, but for the one that no other came to overtake, if it was slow", 0,
             sum(len(replies_until_end(connection)) for at, connection in enumerate(waiting) if at != 3))
    rig.same("nobody is connected", 0, control.export("a")["connections"])
    control.ask("fault-clear", export="a")
    with dial(server, "a") as late:
        after = blocks(late.ask(CMD_READ, 0, 6 * BLOCK).data)
    rig.same("what had reached the disk's cache is kept as all of it, what had not is gone, ghosts too",
             ([b"\0"] * 2, b"x", [b"\0"] * 2), (after[:2], after[2], after[4:]))

    # On the disk at the cut: completed there, the replies on their way. They are the disk's to keep or to lose.
    for seed, keep in enumerate(("none", "all", "random", "random")):
        with dial(server, "held") as client:
            client.ask(CMD_WRITE, 0, 16 * BLOCK, data=b"o" * 16 * BLOCK, flags=FLAG_FUA)
            control.ask("fault-add", export="held", rule="write: hold")
            for block in range(15):
                client.request(CMD_WRITE, block * BLOCK, BLOCK, cookie=block, data=b"n" * BLOCK)
            client.request(CMD_WRITE, 15 * BLOCK, BLOCK, cookie=15, flags=FLAG_FUA, data=b"n" * BLOCK)
            wait_until(lambda: sum(fired("held").values()) == 16 and control.export("held")["volatile"]["writes"] == 15)
            result, took = cut("held", keep=keep, seed=seed + 1)
            rig.same(f"{keep}: no reply comes of a write that was on the disk", {}, replies_until_end(client))
        control.ask("fault-clear", export="held")
        with dial(server, "held") as client:
            after = blocks(client.ask(CMD_READ, 0, 16 * BLOCK).data)
        rig.same(f"{keep}: as many of them are there as were kept, and the one with FUA",
                 (result["kept"], result["lost"], b"n"), (after[:15].count(b"n"), after[:15].count(b"o"), after[15]))
        rig.ok(f"{keep}: some, if by chance", {"none": result["kept"] == 0, "all": result["lost"] == 0}.get(
            keep, 0 < result["kept"] < 15), result)

    # A flush that lies, FUA that is lied about, and neither.
    for rule, expected in (("flush: lie", [b"o", b"f"]), ("write: lie", [b"n", b"-"]), ("read: delay 1ms", [b"n", b"f"])):
        with dial(server, "lied") as client:
            client.ask(CMD_WRITE, 0, BLOCK, data=b"o" * BLOCK, flags=FLAG_FUA)
            client.ask(CMD_WRITE, BLOCK, BLOCK, data=b"-" * BLOCK, flags=FLAG_FUA)
            control.ask("fault-add", export="lied", rule=rule)
            client.ask(CMD_WRITE, 0, BLOCK, data=b"n" * BLOCK)
            rig.same(f"{rule}: a flush is reported done", 0, client.ask(CMD_FLUSH).error)
            rig.same(f"{rule}: and so is FUA", 0, client.ask(CMD_WRITE, BLOCK, BLOCK, data=b"f" * BLOCK, flags=FLAG_FUA).error)
            cut("lied")
        control.ask("fault-clear", export="lied")
        with dial(server, "lied") as client:
            after = blocks(client.ask(CMD_READ, 0, 2 * BLOCK).data)
        rig.same(f"{rule}: a power cut loses what was lied about, and nothing else", expected, after)

    # The server is told to end while a cut waits for nothing, and a ghost for an hour.
    held = dial(server, "held")
    control.ask("fault-add", export="held", rule="write: hold")
    control.ask("fault-add", export="held", rule="read: delay 1h")
    held.request(CMD_WRITE, 0, BLOCK, cookie=1, data=b"e" * BLOCK)
    held.request(CMD_READ, BLOCK, BLOCK, cookie=2)
    wait_until(lambda: all(fired("held").values()))
    control.socket.sendall(b'{"command": "powercut", "arguments": {"export": "a", "down": 3600}}\n')
    rig.same("the server ends, whatever is held up", 0, server.stop())
    rig.ok("the ghost of the export that kept its power has landed", open(rig.path("other"), "rb").read(BLOCK) == b"g" * BLOCK)
    rig.ok("the ghost of the one that lost it has not", open(file, "rb").read(BLOCK) == bytes(BLOCK))
