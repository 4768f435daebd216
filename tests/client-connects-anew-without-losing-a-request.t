#!/bin/bash
# When an export grows, vnbd-client connects anew to be told; under load, no request is lost, none is under way on the
# connection that is given up, and where other connections' flushes do not cover its writes, it is flushed before.
# If this fails, enlarging a disk costs the writes of that moment, or undoes newer ones.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit nbdinfo "$build/bench/vuload"

# Each growth is found before the next.
grow_to()
{
	truncate -s "$1" "$tmp/disk"
	kill -s HUP "${pid_of[client]}"
	wait_until $ready_s grown "$1"
}

grown()
{
	has_said client "has grown from [0-9]* to $1 bytes"
}

grow_under_load()
{
	local size

	start load timeout 60 "$build/bench/vuload" load "$tmp/vm.sock" --pattern=mix --queues=2 --qd=16 --verify \
		--range=8M --time=2
	for size in 20000768 30000128 40000512; do
		sleep 0.3
		grow_to $size || return
	done
	wait_until 60 gone load && stop load
}

# What the connections that ended while it worked, all but the last, had done last: "Flush" or another command; of a
# command that was not answered the log has no "...".
last_commands()
{
	python3 - "$tmp/nbdkit-log" <<-'END'
		import re, sys
		open_, last = {}, {}
		for line in open(sys.argv[1]):
		    found = re.search(r'connection=(\d+) (\.\.\.)?(\w+)', line)
		    if not found:
		        continue
		    number, answer, word = found.groups()
		    if word in ("Read", "Write", "Flush", "Zero", "Trim"):
		        open_[number] = open_.get(number, 0) + (-1 if answer else 1)
		        last[number] = word
		    elif word == "Disconnect" and number in last:
		        print(last[number], "in flight" if open_[number] else "answered")
	END
}

plan 7
truncate -s 10M "$tmp/disk"
for conn in disable emulate; do
	rm -f "$tmp/nbdkit-log"
	truncate -s 10M "$tmp/disk"
	serve nbdkit --filter=log --filter=multi-conn -- multi-conn-mode=$conn logfile="$tmp/nbdkit-log"
	start_client "$tmp/vm.sock" --num-queues=2 "$uri"
	ok "$conn: three growths under load, no wrong byte" grow_under_load
	ok "$conn: no connection was lost" bash -c "! grep -q 'connection lost' '$tmp/client.log'"
	stop client
	kill_server
	last_commands >"$tmp/last"
	ok "$conn: nothing was in flight on those given up" bash -c "[ -s '$tmp/last' ] && ! grep 'in flight' '$tmp/last'"
	[ $conn = emulate ] || same "$conn: they were flushed" "3 Flush answered" \
		"$(head -3 "$tmp/last" | sort | uniq -c | sed 's/^ *//')"
	rm -f "$tmp/client.log"
done
