#!/bin/bash
# A server that is killed and started again is noticed by no request: none fails, none is lost, none is done twice with
# another one in between.  If this fails, a guest's file system goes read-only when the storage node restarts a daemon.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit qemu-nbd nbd-server nbdinfo unshare

requests=12000

# has_done MORE: whether the exercise has come on by so many requests since the last time, or has ended.
has_done()
{
	has_said exercise '^after' $((before + $1 / 1000 - 1)) || gone exercise
}

# torment SERVER KILLS OPTION...: every 3000 requests the server dies; for a moment nobody is there.
torment()
{
	local server=$1 kills=$2 before

	shift 2
	rm -f "$tmp/exercise.log"
	start exercise "$build/tests/link-exercise" --fill --requests=$requests --longest=16 --seed=$RANDOM "$@" "$uri"
	for _ in $(seq "$kills"); do
		before=$(said exercise '^after')
		wait_until $ready_s has_done 3000
		gone exercise && break
		kill_server
		serve "$server"
	done
	wait_until 120 gone exercise
	stop exercise || {
		cat "$tmp/exercise.log"
		return 1
	}
	# It would prove nothing if no connection had been lost with something in flight.
	grep -q 'requests wait: [1-9]' "$tmp/exercise.log"
}

plan 5
truncate -s 32M "$tmp/disk"
for server in vnbd-server nbdkit qemu-nbd; do
	serve $server
	ok "$server killed 3 times" torment $server 3
	kill_server
done
serve nbd-server
ok "nbd-server killed 3 times, by libnbd" with_libnbd torment nbd-server 3
kill_server
serve vnbd-server
ok "vnbd-server killed 3 times, three connections" torment vnbd-server 3 --connections=3
