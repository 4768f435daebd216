#!/bin/bash
# Two queues on two threads under verified load, while the export grows, connections are lost and VMMs come and go: built
# with the thread sanitizer (make check-threads) this is where a race would show.
# If this fails, a guest with more than one queue gets wrong data now and then, and nobody can say why.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit nbdinfo "$build/bench/vuload"

load()
{
	timeout 60 "$build/bench/vuload" load "$tmp/vm.sock" --pattern=mix --queues=2 --qd=16 --verify --range=8M --time=2
}

disturbed_load()
{
	start load timeout 60 "$build/bench/vuload" load "$tmp/vm.sock" --pattern=mix --queues=2 --qd=16 --verify \
		--range=8M --time=4
	sleep 0.5
	truncate -s 20M "$tmp/disk"
	kill -s HUP "${pid_of[client]}"
	sleep 0.5
	kill_server
	truncate -s 30M "$tmp/disk"
	serve nbdkit
	wait_until 60 gone load && stop load
}

grown()
{
	has_said client 'has grown from [0-9]* to 31457280 bytes'
}

plan 4
truncate -s 10M "$tmp/disk"
serve nbdkit
start_client "$tmp/vm.sock" --num-queues=2 --threads=2 --connections=2 "$uri"
ok "two queues, two threads" load
ok "and with a server that goes and an export that grows" disturbed_load
ok "which was noticed" wait_until $ready_s grown
ok "the client ends cleanly" stop client
