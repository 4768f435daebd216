#!/bin/bash
# On SIGTERM the requests in flight are finished and their replies arrive, although more requests wait unread.
# If this fails, a restart of the server turns writes that are on the disk into lost connections without an answer.
. "$(dirname "$0")/peers.sh"
needs python3

# drained: a client fills the server with requests and reads nothing until after the signal.
drained()
{
	PYTHONPATH=$tests python3 - "$1" "${pid_of[server]}" <<'END'
import os, select, signal, sys
from nbd_raw import *
client = Client(sys.argv[1])
idle = Client(sys.argv[1])
halfway = Client(sys.argv[1])
halfway.ask(WRITE, 1, 0, 1 << 20, payload=bytes(1000))
request = client.header(READ, 1, 0, 1 << 20)
client.sock.setblocking(False)
while select.select([], [client.sock], [], 1)[1]:
    client.sock.send(request * 10)
os.kill(int(sys.argv[2]), signal.SIGTERM)
assert idle.is_closed() and halfway.is_closed()
assert wait_until(lambda: refused(sys.argv[1])), "still listening"
client.sock.settimeout(30)
replies = 0
try:
    while True:
        assert client.reply(1 << 20)[1] == 0
        replies += 1
except EOFError as end:
    assert str(end) == "0 of 4 bytes", end
assert replies >= 32, replies
END
}

# Left to itself, the last client would wait for the server, and the server for it.
impatient()
{
	PYTHONPATH=$tests python3 - "$1" "${pid_of[server]}" <<'END'
import os, select, signal, sys
from nbd_raw import *
client = Client(sys.argv[1])
client.sock.setblocking(False)
while select.select([], [client.sock], [], 1)[1]:
    client.sock.send(client.header(READ, 1, 0, 1 << 20) * 10)
os.kill(int(sys.argv[2]), signal.SIGTERM)
assert not wait_until(lambda: not os.path.exists(f"/proc/{sys.argv[2]}/fd/0"), 1)
os.kill(int(sys.argv[2]), signal.SIGTERM)
END
}

plan 8
truncate -s 64M "$tmp/disk"

for address in "unix:$tmp/nbd" 127.0.0.1:0; do
	start_server --listen "$address" --export "=$tmp/disk"
	ok "$address: every reply arrives whole, then the end" drained "$(server_uris | tail -1)"
	ok "$address: the server ends with 0" stop server 0
done
ok "the socket's file is gone" [ ! -e "$tmp/nbd" ]

start_server --listen "unix:$tmp/nbd" --export "=$tmp/disk"
ok "an idle server ends at once" timeout 2 bash -c "kill ${pid_of[server]}; while [ -e $tmp/nbd ]; do sleep 0.05; done"
stop server 0

start_server --listen "unix:$tmp/nbd" --export "=$tmp/disk"
ok "a client that never reads holds the end up" impatient "$(server_uris | tail -1)"
stop server 0
same "and a second signal does not wait for it" 1 $?
