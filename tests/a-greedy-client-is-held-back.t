#!/bin/bash
# A client that asks for much and takes nothing is no longer read; memory stays bounded and others are served.
# If this fails, one stuck client makes the server run out of memory, or every other disk hang.
. "$(dirname "$0")/peers.sh"
needs python3

plan 3
truncate -s 256M "$tmp/disk"
start_server --workers 1 --listen "unix:$tmp/nbd" --export "=$tmp/disk"

ok "gigabytes asked for take a bounded part, and another client is served meanwhile" \
	env PYTHONPATH="$tests" python3 - "$(server_uris)" "${pid_of[server]}" <<'END'
import select, sys
from nbd_raw import *
greedy = Client(sys.argv[1])
request = greedy.header(READ, 1, 0, 1 << 20)
greedy.sock.setblocking(False)
sent = 0
while select.select([], [greedy.sock], [], 2)[1]:
    sent += greedy.sock.send(request * 100)
asked = sent // len(request)
assert asked > 1000, asked      # they wait in the socket
other = Client(sys.argv[1])
for cookie in range(100):
    other.ask(READ, cookie, 4096, 4096)
    assert other.reply(4096)[:2] == (cookie, 0)
resident = int(open(f"/proc/{sys.argv[2]}/status").read().split("VmHWM:")[1].split()[0])
assert resident < 200 << 10, resident
# And when it takes its replies at last, all of them are there.
greedy.sock.settimeout(30)
for _ in range(asked):
    assert greedy.reply(1 << 20)[1] == 0
END

ok "thousands of small requests on many connections are all answered" \
	env PYTHONPATH="$tests" python3 - "$(server_uris)" <<'END'
import sys, threading
from nbd_raw import *
failed = []
def run():
    try:
        client = Client(sys.argv[1])
        stream = b"".join(client.header(READ, i, i * 512, 512) for i in range(3000))
        writer = threading.Thread(target=client.send, args=(stream,))
        writer.start()
        cookies = {client.reply(512)[0] for _ in range(3000)}
        writer.join()
        assert cookies == set(range(3000))
    except BaseException as error:
        failed.append(error)
threads = [threading.Thread(target=run) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not failed, failed
END

ok "the server ends cleanly" stop server
