#!/bin/bash
# vnbd-client's socket is made, replaced and removed as told, and never anybody else's; with --fd it is the parent's.
# If this fails, a restart after a crash needs a hand, or two processes serve one guest.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit nbdinfo python3 "$build/bench/vuload"

s=$tmp/vm.sock

serves()
{
	timeout 20 "$build/bench/vuload" info "$1" | grep -q '"capacity":2048,'
}

refused()
{
	timeout 10 "$build/vnbd-client" --socket-path="$s" "$1" >"$tmp/refused" 2>&1 </dev/null
	[ $? -eq 1 ] && grep -qxF "vnbd-client: error: $s: another process listens there" "$tmp/refused"
}

capabilities()
{
	"$build/vnbd-client" --print-capabilities | python3 -c '
import json, sys
told = json.load(sys.stdin)
assert told == {"type": "block", "features": ["read-only"]}, told'
}

# A parent that listens at $1 and passes the socket on as descriptor 5.
start_with_descriptor()
{
	start_ready client '^vnbd-client: listening on descriptor 5$' python3 -c '
import os, socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()
os.dup2(s.fileno(), 5)
os.execv(sys.argv[2], sys.argv[2:])' "$1" "$build/vnbd-client" --fd=5 "$uri"
}

plan 15
truncate -s 1M "$tmp/disk"
serve nbdkit
start_client "$s" "$uri"
ok "it serves" serves "$s"
ok "one after the other" serves "$s"
ok "a living one's socket is left alone" refused "$uri"
ok "before a server hears of it" refused "nbd+unix:///?socket=$tmp/nobody"
ok "which goes on" serves "$s"
stop client KILL
ok "one that was killed leaves its socket" [ -S "$s" ]
start_client "$s" "$uri"
ok "which the next one replaces" serves "$s"
mv "$s" "$tmp/moved"
echo precious >"$s"
ok "it ends" stop client
ok "and leaves a file alone that is not its own" grep -q precious "$s"
rm "$s"
start_client "$s" "$uri"
ok "SIGINT ends it, too" stop client INT
ok "and the socket is gone" [ ! -e "$s" ]
start_with_descriptor "$s"
ok "it serves at its parent's socket" serves "$s"
ok "it ends then, too" stop client
ok "and leaves that socket to its owner" [ -S "$s" ]
ok "it tells its capabilities in JSON" capabilities
