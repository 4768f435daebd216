#!/bin/bash
# With extended headers a client zeroes, trims and maps a disk of 1 TiB in a single request each; what it must not send
# gets the specified answer.  If this fails, the largest disks cannot be used, or the stream of requests loses its step.
. "$(dirname "$0")/peers.sh"
needs python3

python()
{
	DISK=$tmp/disk PYTHONPATH=$tests python3 - "$uri"
}

plan 7
truncate -s 1T "$tmp/disk"
start_server --listen "unix:$tmp/nbd" --export "=$tmp/disk" --export "ro=$tmp/disk,readonly" \
	--export "direct=$tmp/disk,cache=none"
uri=$(server_uris)

ok "zeroed, trimmed, hinted and mapped, each at once" python <<'END'
import sys
from nbd_dialects import *
TIB = 1 << 40
for export in ("", "direct"):
    client = Client(sys.argv[1], EXTENDED, export)
    assert client.size == TIB and client.flags & HAS_STATUS_PAYLOAD
    for command in (ZERO, TRIM):
        assert client.ask(STATUS, 0, TIB).extents == [(TIB, HOLE)]
        for at in (0, 5 << 30, TIB - 4096):
            assert client.ask(WRITE, at, payload=b"d" * 4096).error == 0
        assert client.ask(STATUS, 0, TIB).extents == [
            (4096, 0), ((5 << 30) - 4096, HOLE), (4096, 0), (TIB - (5 << 30) - 8192, HOLE), (4096, 0)]
        assert client.ask(CACHE, 0, TIB).error == 0
        assert client.ask(command, 0, TIB, FUA).error == 0
    assert client.ask(STATUS, 4096, TIB - 4096, REQ_ONE).extents == [(TIB - 4096, HOLE)]
    assert client.ask(READ, 5 << 30, 4096).data == bytes(4096)
END

ok "32 bits tell of it in pieces" python <<'END'
import sys
from nbd_dialects import *
client = Client(sys.argv[1], STRUCTURED)
extents = client.ask(STATUS, 0, 2**32 - 1).extents
assert len(extents) == 1 and extents[0][1] == HOLE and extents[0][0] % 65536 == 0
assert client.map() == [(1 << 40, HOLE)]
END

ok "a payload limits the status to the contexts it names" python <<'END'
import sys
from nbd_dialects import *
client = Client(sys.argv[1], EXTENDED)
context, = client.ids
def status(payload, offset=0, flags=0):
    reply = client.ask(STATUS, offset, flags=PAYLOAD_LEN | flags, payload=payload)
    return reply.error, reply.extents
TIB = 1 << 40
assert status(struct.pack(">QI", 1 << 33, context)) == (0, [(TIB, HOLE)])
assert status(struct.pack(">QI", 1 << 33, context), 4096, REQ_ONE) == (0, [(1 << 33, HOLE)])
assert status(struct.pack(">Q", 1 << 33)) == (0, None)
for bad in (struct.pack(">QI", 1 << 33, context + 1), struct.pack(">QII", 1 << 33, context, context), b"1", bytes(8),
            struct.pack(">QI", TIB + 1, context), struct.pack(">QI", 2**64 - 1, context), bytes(70000), bytes(1 << 25)):
    assert status(bad) == (EINVAL, None), bad
assert client.ask(STATUS, 0, TIB).extents == [(TIB, HOLE)]
END

ok "bad requests get their error, and the stream stays in step" python <<'END'
import sys
from nbd_dialects import *
TIB = 1 << 40
client = Client(sys.argv[1], EXTENDED)
for command, offset, length, flags, payload, error in (
        (ZERO, 1, TIB, 0, b"", ENOSPC), (ZERO, 2**64 - 1, 2**64 - 1, 0, b"", ENOSPC), (TRIM, 1, TIB, 0, b"", EINVAL),
        (CACHE, TIB, 1, 0, b"", EINVAL), (STATUS, 0, TIB + 1, 0, b"", EINVAL), (STATUS, 0, 0, 0, b"", EINVAL),
        (READ, 0, (32 << 20) + 1, 0, b"", EINVAL), (READ, 0, TIB, DF, b"", EINVAL),
        (READ, 0, 0, PAYLOAD_LEN, bytes(100), EINVAL), (TRIM, 0, 0, PAYLOAD_LEN, bytes(300000), EINVAL),
        (FLUSH, 0, 0, PAYLOAD_LEN, bytes(8), EINVAL), (99, 0, 0, PAYLOAD_LEN, bytes(8), EINVAL),
        (WRITE, 0, 0, 0, b"", EINVAL), (WRITE, TIB - 1, 2, 0, b"xx", ENOSPC), (WRITE, 0, 1, REQ_ONE, b"x", EINVAL)):
    assert client.ask(command, offset, length, flags, payload).error == error, (command, offset, length, flags)
# A write without its flag has no payload.
client.asked[7] = WRITE, 0, 512, 0
client.socket.sendall(struct.pack(">IHHQQQ", 0x21E41C71, 0, WRITE, 7, 0, 512))
assert client.reply().error == EINVAL
assert client.ask(WRITE, 512, payload=b"y" * 512, flags=FUA).error == 0
assert client.ask(READ, 512, 512).data == b"y" * 512
assert Client(sys.argv[1], EXTENDED, "ro").ask(ZERO, 0, TIB).error == 1
END

ok "hundreds in flight, in every form" python <<'END'
import sys
from nbd_dialects import *
for form in (None, STRUCTURED, EXTENDED):
    client = Client(sys.argv[1], form)
    for cookie in range(400):
        if cookie % 4 == 0:
            client.send(WRITE, cookie << 20, 4096, payload=bytes([cookie % 255 + 1]) * 4096, cookie=cookie)
        elif cookie % 4 == 1 and form:
            client.send(STATUS, cookie << 20, 1 << 39, cookie=cookie) if form == EXTENDED else \
                client.send(STATUS, cookie << 20, 1 << 30, cookie=cookie)
        else:
            client.send(READ, (cookie << 20) + 4096, 65536, cookie=cookie)
    replies = {reply.cookie: reply for reply in (client.reply() for _ in range(400))}
    assert len(replies) == 400 and not any(reply.error for reply in replies.values())
    for cookie in range(0, 400, 4):
        reply = client.ask(READ, (cookie << 20) - 8192 if cookie else 0, 65536)
        assert bytes([cookie % 255 + 1]) * 4096 in reply.data
END

ok "what is an attack closes the connection" python <<'END'
import sys
from nbd_dialects import *
for header in (struct.pack(">IHHQQQ", 0x21E41C71, PAYLOAD_LEN, WRITE, 1, 0, (32 << 20) + 1),
               struct.pack(">IHHQQQ", 0x21E41C71, PAYLOAD_LEN, STATUS, 1, 0, 2**64 - 1),
               struct.pack(">IHHQQI", 0x25609513, 0, READ, 1, 0, 512) + bytes(4)):
    client = Client(sys.argv[1], EXTENDED)
    client.socket.sendall(header)
    assert client.is_closed()
client = Client(sys.argv[1], STRUCTURED)
client.socket.sendall(struct.pack(">IHHQQQ", 0x21E41C71, 0, READ, 1, 0, 512))
assert client.is_closed()
END

ok "the server ends cleanly" stop server
