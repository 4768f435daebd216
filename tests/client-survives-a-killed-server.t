#!/bin/bash
# A guest's driver with verified requests in flight, split over queues and segments, notices nothing but time when the
# server is killed and started again.  If this fails, a guest loses data or sees I/O errors.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit qemu-nbd nbdinfo "$build/bench/vuload"

s=$tmp/vm.sock

prefill()
{
	timeout 120 "$build/bench/vuload" load "$s" --verify --prefill --range=32M
}

# torment SERVER OPTION...
torment()
{
	local server=$1 lost

	shift
	lost=$(said client 'requests wait: [1-9]')
	rm -f "$tmp/load.log"
	start load "$build/bench/vuload" load "$s" --pattern=mix --rdpct=50 --qd=16 --queues=2 --segs=2 --verify --filled \
		--range=32M --flush=20 --time=4 --timeout=60000 --seed=1 "$@"
	for _ in 1 2 3 4; do
		sleep 0.6
		kill_server
		serve "$server"
	done
	wait_until 60 gone load
	stop load || {
		cat "$tmp/load.log"
		return 1
	}
	cat "$tmp/load.log"
	grep -q 'errors 0 mismatches 0/' "$tmp/load.log" && has_said client 'requests wait: [1-9]' "$lost"
}

plan 10
truncate -s 32M "$tmp/disk"
for server in vnbd-server nbdkit qemu-nbd; do
	serve $server
	start_client "$s" "$uri"
	ok "$server: every block is written" prefill
	ok "$server, killed 4 times" torment $server
	stop client
	kill_server
done
serve vnbd-server
start_client "$s" --connections=3 "$uri"
ok "write-through, three connections: every block is written" prefill
ok "write-through, three connections, killed 4 times" torment vnbd-server --wce=0
stop client
kill_server
serve nbdkit
with_libnbd start_client "$s" "$uri"
ok "by libnbd: every block is written" prefill
ok "by libnbd, killed 4 times" torment nbdkit
