#!/bin/bash
# Where a server does not promise that a flush on one connection covers the writes on all, there is one connection for
# all queues; where it does, each thread has as many as asked for.
# If this fails, a guest's flush leaves writes of its other queues volatile, or one connection is all the speed there is.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit nbdinfo "$build/bench/vuload"

s=$tmp/vm.sock

# Connections that the server has seen and that still live.
connections()
{
	echo $(($(grep -c ' Connect ' "$tmp/nbdkit-log") - $(grep -c ' Disconnect ' "$tmp/nbdkit-log")))
}

load()
{
	timeout 60 "$build/bench/vuload" load "$s" --pattern=mix --queues=4 --qd=8 --verify --range=8M --time=1
}

nbdinfo_is_gone()
{
	[ "$(connections)" = 0 ]
}

plan 9
truncate -s 32M "$tmp/disk"
threads=$(nproc)
[ "$threads" -le 4 ] || threads=4

serve nbdkit --filter=log --filter=multi-conn -- multi-conn-mode=disable logfile="$tmp/nbdkit-log"
wait_until $ready_s nbdinfo_is_gone
start_client "$s" --num-queues=4 --connections=3 "$uri"
same "one connection where more are not safe" 1 "$(connections)"
ok "which the log tells" grep -q 'one connection and one thread serve all queues' "$tmp/client.log"
ok "and which serves every queue" load
stop client
kill_server

rm "$tmp/nbdkit-log"
serve nbdkit --filter=log -- logfile="$tmp/nbdkit-log"
wait_until $ready_s nbdinfo_is_gone
start_client "$s" --num-queues=4 --connections=3 "$uri"
same "$threads threads with 3 connections each" $((threads * 3)) "$(connections)"
ok "which serve every queue" load
stop client
ok "and say goodbye" wait_until $ready_s nbdinfo_is_gone

rm "$tmp/nbdkit-log"
serve_again()
{
	kill_server
	serve nbdkit --filter=log -- logfile="$tmp/nbdkit-log"
	wait_until $ready_s nbdinfo_is_gone
}
serve_again
start_client "$s" --num-queues=4 --threads=3 --connections=2 "$uri"
same "as many threads as asked for" 6 "$(connections)"
ok "which serve every queue" load
stop client
wait_until $ready_s nbdinfo_is_gone
start_client "$s" --num-queues=2 --threads=16 "$uri"
same "but no more than queues" 2 "$(connections)"
