#!/bin/bash
# An export that is smaller than the guest knows it: when the server that is in use has cut it, the guest's disk follows,
# with a warning, and goes on after a reconnect; when another server answers at the same address, nothing changes, and
# no write goes there.
# If this fails, a guest's writes go to a wrong disk, or a disk that was cut hangs its guest for ever.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdinfo "$build/bench/vuload"

told()
{
	wait_until $ready_s said_once "$1"
}

said_once()
{
	has_said client "$1"
}

# both_connected BEFORE: since that many lines told of a connection.
both_connected()
{
	wait_until $ready_s are_connected "$1"
}

are_connected()
{
	has_said client 'connected again' $(($1 + 1))
}

# asked_and_told PATTERN: the server may need a second to see it itself.
asked_and_told()
{
	wait_until $ready_s ask_once_more "$1"
}

ask_once_more()
{
	kill -s HUP "${pid_of[client]}"
	sleep 0.3
	said_once "$1"
}

load()
{
	timeout 60 "$build/bench/vuload" load "$tmp/vm.sock" --pattern=mix --queues=2 --qd=8 --verify --range="$1" --time=1
}

plan 11
truncate -s 16M "$tmp/disk"
serve vnbd-server
start_client "$tmp/vm.sock" --num-queues=2 --threads=2 "$uri"
truncate -s 8M "$tmp/disk"
ok "a shrunk export is followed, with a warning" asked_and_told 'warning: .* has SHRUNK from 16777216 to 8388608 bytes'
ok "what is left works" load 8M
truncate -s 32M "$tmp/disk"
ok "it may grow again" asked_and_told 'has grown from 8388608 to 33554432 bytes'
ok "and all of it works" load 32M
truncate -s 20M "$tmp/disk"
ok "and shrink" asked_and_told 'SHRUNK from 33554432 to 20971520 bytes'
connected=$(said client 'connected again')
kill_server
serve vnbd-server
ok "a server that comes back with that size is right" both_connected "$connected"

# Another one takes its place, while the connections to the first live on.
mv "$tmp/nbd" "$tmp/nbd.old"
truncate -s 10M "$tmp/other"
before=$(sha512sum <"$tmp/other")
start other "$build/vnbd-server" --listen "unix:$tmp/nbd" --export "disk=$tmp/other"
wait_until $ready_s is_served
ok "another, smaller export is told" asked_and_told 'is told 10485760 bytes, less than .* 20971520: .* another export[?]$'
ok "the disk stays as it was" load 20M
kill_server
ok "when the first is gone, nobody connects to the other" told 'error: .* shrank from 20971520 to 10485760 bytes; trying again'
stop other
same "which is untouched" "$before" "$(sha512sum <"$tmp/other")"
serve vnbd-server
ok "when the first is back, all goes on" load 20M
