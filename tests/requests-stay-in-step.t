#!/usr/bin/python3
# If this fails, one odd request makes the server take data for requests: it would carry out what the data happens to say.
from nbd_raw import *
from rig import Rig

SIZE = 256 << 20


def bogus_requests(count):
    """Data that is a valid write of 'bad!' to each sector, should it ever be taken for requests."""
    return b"".join(request_bytes(CMD_WRITE, i * 512, 4, cookie=666) + b"bad!" for i in range(count))


def memory_kb(server, field):
    with open(f"/proc/{server.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))


with Rig() as rig:
    disk = rig.disk("disk", "256M")
    server = rig.server("--export", "=" + disk, "--export", f"r={disk},readonly")

    for name, export, command, offset, flags, error in (
            ("a write past the end", "", CMD_WRITE, SIZE, 0, ENOSPC),
            ("a write to a read-only export", "r", CMD_WRITE, 0, 0, EPERM),
            ("a write with an unknown flag", "", CMD_WRITE, 0, 0x4000, EINVAL)):
        for length in (1, 28, 4096, 65535, 65536, 65537, 1 << 20):
            with Connection(server.address) as c:
                c.go(export)
                data = bogus_requests(length // 32 + 1)[:length]
                c.request(command, offset, length, cookie=1, flags=flags, data=data)
                c.request(CMD_READ, 0, 512, cookie=2)
                got = [c.reply(), c.reply()]
                rig.same(f"{name}: {length} bytes of its data are skipped", [(1, error, b""), (2, 0, bytes(512))],
                         [r[:3] for r in sorted(got)])

    with Connection(server.address) as c:
        c.go()
        length = 2**32 - 1  # skipped, not kept
        c.request(CMD_WRITE, 0, length, cookie=1)
        with open(f"/proc/{server.pid}/clear_refs", "w") as clear:
            clear.write("5")  # the peak starts afresh
        before_kb = memory_kb(server, "VmRSS")
        piece = bogus_requests(65536)
        for start in range(0, length, len(piece)):
            c.send(piece[:length - start])
        reply = c.reply()
        after = c.ask(CMD_READ, 0, 512, cookie=2)
        rig.same("the data of a write of 4 GiB - 1 is skipped in full", (ENOSPC, bytes(512)),
                 (reply.error, after.data))
        grown_kb = memory_kb(server, "VmHWM") - before_kb
        rig.ok("and has not been kept in memory", grown_kb < 16 << 10, f"{grown_kb} KiB more at the peak")

    with Connection(server.address) as c:
        c.go()
        for length in (1, 511, 513, 65508, 65509, 65536, 65537, 131072 + 1):
            c.request(CMD_WRITE, 77, length, cookie=length, data=bytes([length & 255]) * length)
        got = {c.reply()[:2] for _ in range(8)}
        rig.same("writes of odd lengths in one stream are all carried out", {0}, {error for _, error in got})
        c.ask(CMD_WRITE, 77, 300000, data=b"q" * 300000)
        rig.same("the last write is what is read", b"q" * 300000, c.ask(CMD_READ, 77, 300000).data)

    with Connection(server.address) as c:  # one byte at a time
        c.go()
        message = request_bytes(CMD_WRITE, 1000, 100, cookie=3) + b"z" * 100 + request_bytes(CMD_FLUSH, cookie=4)
        for i in range(len(message)):
            c.send(message[i:i + 1])
        c.expected = {3: 0, 4: 0}
        rig.same("requests that arrive byte by byte are understood", [(3, 0), (4, 0)], sorted(c.reply()[:2] for _ in "12"))
        rig.same("and carried out", b"z" * 100, c.ask(CMD_READ, 1000, 100).data)

    with Connection(server.address) as c:
        c.go()
        c.send(request_bytes(CMD_READ, 0, 512, magic=REQUEST_MAGIC + 1))
        rig.ok("a request without its magic ends the connection", c.closed())
    with Connection(server.address) as c:
        c.go()
        rig.same("of that client alone", 0, c.ask(CMD_READ, 0, 512).error)
