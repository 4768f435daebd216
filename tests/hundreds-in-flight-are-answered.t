#!/usr/bin/python3
# If this fails, a busy client (a virtual machine has hundreds of requests under way) gets another request's data, an error
# that was not its own, or no reply at all.
import random
import threading

from nbd_raw import CMD_READ, Connection, request_bytes
from rig import Rig, skip_all

try:
    import nbd
except ImportError:
    skip_all("python3-libnbd is not installed")

SIZE = 64 << 20
IN_FLIGHT = 600  # more than the server takes at a time: it has to stop reading and go on
MAX = 32 << 20


def open_handle(server, structured=True, strict=True):
    h = nbd.NBD()
    h.set_request_structured_replies(structured)
    if not strict:
        h.set_strict_mode(0)
    h.connect_uri(server.uri())
    return h


def pump(h, done, wanted):
    """Lets commands run until @wanted of them are in @done."""
    while len(done) < wanted:
        if h.poll(20000) == 0:
            return False
    return True


def many_reads(h, content):
    """Reads everywhere, of all sizes, all under way together. Returns what came back wrong, and the order of arrival."""
    order, wrong, places = [], [], random.Random(1)
    for i in range(IN_FLIGHT):
        length = places.choice([1, 512, 4096, 65536]) if i % 100 else 1 << 20
        offset = places.randrange(SIZE - length)
        buffer = nbd.Buffer(length)

        def done(error, i=i, offset=offset, length=length, buffer=buffer):
            order.append(i)
            if error.value or buffer.to_bytearray() != content[offset:offset + length]:
                wrong.append((i, error.value))
            return 1

        h.aio_pread(buffer, offset, done)
    pump(h, order, IN_FLIGHT)
    return wrong, order


def many_connections(server):
    problems = []

    def run():
        with Connection(server.address) as c:
            c.go()
            c.expected = {i: 512 for i in range(3000)}
            stream = b"".join(request_bytes(CMD_READ, i * 512, 512, cookie=i) for i in c.expected)
            writer = threading.Thread(target=c.send, args=(stream,))
            writer.start()
            errors = {c.reply().error for _ in range(3000)}
            writer.join()
            if c.expected or errors != {0}:
                problems.append((len(c.expected), errors))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return problems


def mixed(h):
    """Writes, reads, zeroes, trims and flushes with every flag, each in a place of its own."""
    done, wrong = [], []
    block = 16384

    def finished(error, what=None):
        done.append(what)
        if error.value:
            wrong.append((what, error.value))
        return 1

    for i in range(IN_FLIGHT):
        offset = i * block
        fua = nbd.CMD_FLAG_FUA if i % 3 == 0 else 0
        kind = i % 5
        if kind in (0, 1):
            h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([i & 255]) * block), offset,
                         lambda e: finished(e, "write"), fua)
        elif kind == 2:
            h.aio_zero(block, offset, lambda e: finished(e, "zero"), fua | (nbd.CMD_FLAG_NO_HOLE if i & 1 else 0))
        elif kind == 3:
            h.aio_flush(lambda e: finished(e, "flush"))
        else:
            h.aio_trim(block, offset, lambda e: finished(e, "trim"), fua)
    pump(h, done, IN_FLIGHT)
    return len(done), wrong


def written_right(h):
    """The places that mixed() left with known content."""
    block = 16384
    for i in range(IN_FLIGHT):
        expected = bytes([i & 255]) * block if i % 5 in (0, 1) else bytes(block) if i % 5 == 2 else None
        if expected is not None and h.pread(block, i * block) != expected:
            return False
    return True


with Rig() as rig:
    disk = rig.disk("disk", "64M", fill=True)
    with open(disk, "rb") as file:
        content = file.read()
    server = rig.server("--export", "=" + disk)
    for structured in (True, False):
        kind = "structured replies" if structured else "simple replies"
        h = open_handle(server, structured)
        rig.same(f"{kind}: as agreed", structured, h.get_structured_replies_negotiated())
        wrong, order = many_reads(h, content)
        rig.same(f"{kind}: {IN_FLIGHT} reads in flight, each with its own data", (IN_FLIGHT, []), (len(order), wrong))
        rig.ok(f"{kind}: every read is answered once", sorted(order) == list(range(IN_FLIGHT)))
        if structured:
            chunks = []
            data = h.pread_structured(1 << 20, 4096, lambda b, o, s, e: chunks.append((o, len(b))) or 0,
                                      nbd.CMD_FLAG_DF)
            rig.same("DF: one chunk", (bytearray(content[4096:4096 + (1 << 20)]), [(4096, 1 << 20)]), (data, chunks))
        rig.ok(f"{kind}: a read of 32 MiB", h.pread(MAX, 12345) == content[12345:12345 + MAX])
        h.shutdown()

    h = open_handle(server)
    big = random.Random(2).randbytes(MAX)
    h.pwrite(big, 4097, nbd.CMD_FLAG_FUA)
    rig.ok("a write of 32 MiB with FUA is what is read", h.pread(MAX, 4097) == big)
    done = []
    for i in range(4):  # 128 MiB: more than one connection may hold at a time
        h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(big)), i * 1024, lambda e: done.append(e.value) or 1)
    rig.ok("four writes of 32 MiB in flight", pump(h, done, 4) and done == [0] * 4, done)
    rig.same(f"{IN_FLIGHT} writes, zeroes, trims and flushes in flight, with FUA and without", (IN_FLIGHT, []), mixed(h))
    rig.ok("have done what they should", written_right(h))
    h.shutdown()

    rig.same("8 connections of 3000 small reads each, all sent at once", [], many_connections(server))

    h = open_handle(server, strict=False)
    errors = []
    done = []
    for i in range(IN_FLIGHT):  # good and bad ones mixed: each gets its own verdict
        bad = i % 4 == 0
        h.aio_pread(nbd.Buffer(512), SIZE if bad else i * 512,
                    lambda e, bad=bad: done.append(1) or (errors.append((bad, e.value)) if bool(e.value) != bad else None) or 1)
    rig.ok("errors in the middle of hundreds hit those that are wrong only",
           pump(h, done, IN_FLIGHT) and not errors, errors[:5])
    rig.same("and the connection goes on", 512, len(h.pread(512, 0)))
    h.shutdown()
