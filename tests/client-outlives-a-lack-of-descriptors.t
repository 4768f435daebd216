#!/bin/bash
# vnbd-client that has no file descriptors left says so and goes on when there are some: for a VMM that connects, for the
# rings of a machine with many, for a connection to the server that was lost.  And it begins with as many as it may have.
# If this fails, a busy host's disks hang, or crash, for want of a number in a unit file.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit nbdinfo prlimit "$build/bench/vuload"

told()
{
	wait_until $ready_s said_once "$1"
}

said_once()
{
	has_said client "$1"
}

limit()
{
	prlimit --pid "${pid_of[client]}" --nofile="$1:"
}

load()
{
	timeout 60 "$build/bench/vuload" load "$tmp/vm.sock" --pattern=mix --queues="$1" --qd=8 --verify --range=8M \
		--time="$2" --timeout=40000
}

plan 9
truncate -s 16M "$tmp/disk"
serve nbdkit
ulimit -S -n 64
start_client "$tmp/vm.sock" --num-queues=16 "$uri"
ulimit -S -n "$(ulimit -H -n)"
same "it takes what it may have" "$(prlimit --noheadings -o HARD --nofile --pid "${pid_of[client]}")" \
	"$(prlimit --noheadings -o SOFT --nofile --pid "${pid_of[client]}")"

limit 3
start waiting timeout 60 "$build/bench/vuload" load "$tmp/vm.sock" --pattern=randread --time=1 --timeout=40000
ok "a VMM that cannot be accepted is told" told "error: cannot accept a VMM's connection: Too many open files; trying again"
limit 1000
ok "and is served when there are descriptors" eval 'wait_until 30 gone waiting && stop waiting'

# Enough to accept, not enough for all rings: that VMM is sent away.
limit "$(($(ls "/proc/${pid_of[client]}/fd" | wc -l) + 8))"
ok "a VMM of too many rings is refused" eval '! load 16 1'
ok "which is told" told "closing the VMM's connection|refused the VMM's"
limit 1000
ok "with descriptors, it is served" load 16 1

start disturbed timeout 60 "$build/bench/vuload" load "$tmp/vm.sock" --pattern=mix --queues=2 --qd=8 --verify \
	--range=8M --time=3 --timeout=40000
sleep 0.7
limit 3
kill_server
serve nbdkit
ok "a connection that cannot be made is told" told 'disk.*: .*Too many open files; trying again'
limit 1000
ok "a lost connection is made again when there are descriptors" eval 'wait_until 60 gone disturbed && stop disturbed'
ok "the client ends cleanly" stop client
