#!/usr/bin/python3
# Large payloads are received straight into their buffers, and the header behind one alone; small requests come by the
# bufferful. However the stream is cut, and in whatever order they come, each byte gets to its place.
# If this fails, a guest's large writes land in the wrong place, or what follows them is taken for something else.
import random
import time

from nbd_raw import *
from rig import Rig

SIZE = 16 << 20
LARGE = (128 << 10) - 1, 128 << 10, (128 << 10) + 27, 256 << 10, 1 << 20, (2 << 20) + 3
SMALL = 1, 512, 4096, 65536, 28, 100000
ORDERS = {"large": LARGE, "large and small": sum(zip(LARGE, SMALL), ()), "small, then large": SMALL * 3 + LARGE}

chance = random.Random(7)


def requests(disk, lengths):
    """Writes to places of their own, and a read behind some: (cookie, what it reads, bytes). Writes to @disk, too."""
    offset = 0
    for cookie, length in enumerate(lengths, 1):
        data = chance.randbytes(length)
        disk[offset:offset + length] = data
        yield cookie, b"", request_bytes(CMD_WRITE, offset, length, cookie) + data
        if cookie % 3 == 0:
            yield 1000 + cookie, bytes(4096), request_bytes(CMD_READ, SIZE - 4096, 4096, 1000 + cookie)
        offset += length


def send(connection, stream, headers, cut):
    """In pieces of @cut bytes around the headers, with a chance for the server to see each alone; None: as it comes."""
    at = 0
    for header in headers if cut else []:
        for end in range(max(at, header - 40), header + 70, cut):
            connection.send(stream[at:end])
            at = max(at, end)
            time.sleep(0.0003)
    connection.send(stream[at:])


with Rig() as rig:
    path = rig.disk("disk", "16M")
    server = rig.server("--export", "=" + path)
    for cut in 5, 28, 29, 56, 70, None:
        for order, lengths in ORDERS.items():
            disk = bytearray(SIZE)
            stream, headers, expected = b"", [], {}
            for cookie, answer, request in requests(disk, lengths):
                headers.append(len(stream))
                stream += request
                expected[cookie] = (0, answer)
            with Connection(server.address) as c:
                c.go()
                c.ask(CMD_WRITE_ZEROES, 0, SIZE)
                c.expected = {cookie: len(answer) for cookie, (_, answer) in expected.items()}
                send(c, stream, headers, cut)
                replies = {reply.cookie: (reply.error, reply.data) for reply in (c.reply() for _ in expected)}
            rig.ok(f"{order}, cut into {cut} bytes around headers: all are answered", replies == expected)
            with open(path, "rb") as written:
                rig.ok("  and written to their places", written.read() == disk)
