#!/bin/bash
# Requests that no honest client sends get the specified error or a closed connection, and the server goes on.
# If this fails, one bad client ends or stalls the disks of all others, or leaves something behind each time.
. "$(dirname "$0")/peers.sh"
needs python3

python()
{
	DISK=$tmp/disk PYTHONPATH=$tests python3 - "$uri" "${pid_of[server]}"
}

plan 9
truncate -s 64M "$tmp/disk"
start_server --listen "unix:$tmp/nbd" --export "=$tmp/disk" --export "ro=$tmp/disk,readonly"
uri=$(server_uris)

ok "bad requests get their error, and the stream stays in step" python <<'END'
import sys
from nbd_raw import *
for structured in (False, True):
    client = Client(sys.argv[1], structured=structured)
    size = client.size
    bad = [
        (READ, size, 1, 0, EINVAL), (READ, 0, 0, 0, EINVAL), (READ, 0, 0xffffffff, 0, EINVAL),
        (READ, 2**64 - 1, 2, 0, EINVAL), (READ, 0, 512, REQ_ONE, EINVAL), (READ, 0, 512, 0x8000, EINVAL),
        (WRITE, size - 1, 2, 0, ENOSPC), (WRITE, 0, 0, 0, EINVAL), (WRITE, 0, 8, DF, EINVAL),
        (WRITE, 0, (32 << 20) + 1, 0, EINVAL), (WRITE, 2**64 - 1, 70000, 0, ENOSPC),
        (TRIM, size, 1, 0, EINVAL), (ZERO, 1, size, 0, ENOSPC), (CACHE, 1, size, 0, EINVAL),
        (FLUSH, 0, 1, 0, EINVAL), (7, 0, 512, 0, EINVAL), (8, 0, 0, 0, EINVAL), (65535, 0, 0, 65535, EINVAL),
    ]
    for cookie, (command, offset, length, flags, error) in enumerate(bad):
        payload = bytes(length) if command == WRITE else b""
        client.ask(command, cookie, offset, length, flags, payload)
        got = client.reply()
        assert got[:2] == (cookie, error), (bad[cookie], got)
        assert not structured or got[2], "an error has words"
    client.ask(WRITE, 1, 4096, 4096, FUA, b"x" * 4096)
    assert client.reply() == (1, 0, b"")
    client.ask(READ, 2, 4096, 4096)
    assert client.reply(4096) == (2, 0, b"x" * 4096)
    client.close()
END

ok "a readonly export cannot be changed" python <<'END'
import sys
from nbd_raw import *
client = Client(sys.argv[1], "ro")
assert client.flags & 2
for command, payload in ((WRITE, bytes(512)), (TRIM, b""), (ZERO, b"")):
    client.ask(command, 1, 0, 512, 0, payload)
    assert client.reply()[1] == EPERM
END

ok "a payload of 4 GiB - 1 is refused without being kept" python <<'END'
import sys
from nbd_raw import *
client = Client(sys.argv[1])
client.ask(WRITE, 1, 0, 0xffffffff)
mib, left = bytes(1 << 20), 0xffffffff
while left:
    client.send(mib[:min(left, len(mib))])
    left -= min(left, len(mib))
assert client.reply() == (1, ENOSPC, b"")
rss = int(open(f"/proc/{sys.argv[2]}/status").read().split("VmHWM:")[1].split()[0])
assert rss < 256 << 10, rss
END

ok "a disk that fails is an error of that request alone" python <<'END'
import os, sys
from nbd_raw import *
disk = os.environ["DISK"]
plain, structured = Client(sys.argv[1]), Client(sys.argv[1], structured=True)
os.truncate(disk, 1 << 20)
for client in (plain, structured):
    client.ask(READ, 1, 8 << 20, 65536)
    assert client.reply(65536)[:2] == (1, EIO)
    client.ask(FLUSH, 2)
    assert client.reply() == (2, 0, b"")
os.truncate(disk, 64 << 20)
for client in (plain, structured):
    client.ask(READ, 3, 8 << 20, 65536)
    assert client.reply(65536) == (3, 0, bytes(65536))
END

ok "a request without its magic closes the connection" python <<'END'
import sys
from nbd_raw import *
client = Client(sys.argv[1])
client.ask(READ, 1, 0, 512)
client.send(client.header(READ, magic=0x25609514))
while not client.is_closed():
    pass
END

ok "options in the handshake that attack close it" python <<'END'
import sys
from nbd_raw import *
for attack in (b"\0" * 16, b"IHAVEOPT" + struct.pack(">II", 7, 0xffffffff), b"IHAVEOPT" + struct.pack(">II", 1, 9999),
               b"IHAVEOPT" + struct.pack(">II", 1, 4) + b"none"):
    client = Client(sys.argv[1], go=False)
    client.send(attack)
    assert client.is_closed()
END

ok "what a client pipelines behind its handshake, and sends in single bytes, is served" python <<'END'
import sys
from nbd_raw import *
client = Client(sys.argv[1], go=False)
stream = b"IHAVEOPT" + struct.pack(">II", GO, 6) + bytes(6)
stream += client.header(WRITE, 1, 0, 5) + b"hello"
client.send(stream)
while client.option_reply()[0] != 1:
    pass
assert client.reply() == (1, 0, b"")
for byte in client.header(READ, 3, 0, 5):
    client.send(bytes([byte]))
assert client.reply(5) == (3, 0, b"hello")
END

ok "clients that vanish at any point leave nothing behind" python <<'END'
import os, random, sys
from nbd_raw import *
fds = lambda: len(os.listdir(f"/proc/{sys.argv[2]}/fd"))
first = Client(sys.argv[1])     # so that what a worker keeps is already there
first.ask(READ, 1, 0, 1 << 20)
first.reply(1 << 20)
before = fds()
for n in range(60):
    client = Client(sys.argv[1])
    stream = b"".join(client.header(READ, i, 0, 1 << 20) for i in range(40))
    stream += client.header(WRITE, 50, 0, 1 << 20) + bytes(1 << 20) + client.header(FLUSH)
    random.seed(n)
    client.sock.setblocking(False)
    try:
        client.sock.send(stream[:random.randrange(1, len(stream))])
    except BlockingIOError:
        pass
    client.close()
assert wait_until(lambda: fds() == before), (before, fds())
first.ask(READ, 2, 0, 512)
assert first.reply(512)[0] == 2
END

ok "the server ends cleanly" stop server
