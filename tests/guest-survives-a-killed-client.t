#!/bin/bash
# vnbd-client is killed again and again, at any moment, while a guest writes and verifies over a server that answers out
# of order, and started again; once it is stopped as planned.  VNBD_KILLS: how often, for each layout of the rings.
# If this fails, a crash or an update of the daemon costs virtual machines their data, or their disk until they reboot.
. "$(dirname "$0")/peers.sh"
. "$tests/guest/host.sh"
needs nbdkit e2fsck debugfs

kills=${VNBD_KILLS:-5}

serve()
{
	start_client "$tmp/vhost" --num-queues=2 "nbd+unix:///?socket=$tmp/nbd"
}

# A writing guest has something in flight nearly always; a planned stop is as good a moment as any.
kill_again_and_again()
{
	local kill

	for ((kill = 1; kill <= kills; kill++)); do
		sleep "$(printf '%d.%03d' $((RANDOM % 2 + 1)) $((RANDOM % 1000)))"
		if [ "$kill" -eq 2 ]; then
			stop client || return 1
		else
			stop client KILL
		fi
		gone guest && return 1
		serve
	done
}

# guest_with off|on: packed rings
guest_with()
{
	rm -f "$tmp/disk" "$tmp/nbd"
	fallocate -l 64M "$tmp/disk"
	start nbdkit nbdkit -f -U "$tmp/nbd" --filter=delay file "$tmp/disk" rdelay=5ms wdelay=60ms
	wait_until $ready_s test -S "$tmp/nbd"
	serve
	guest_start soak --timeout $((kills * 4 + 100)) --env SOAK_S=$((kills * 3 + 4)) --reconnect \
		--vhost-user "$tmp/vhost,num-queues=2,packed=$1"
	ok "packed=$1: the guest is at work" guest_says "pass 2" 60
	ok "packed=$1: the client dies $kills times and comes back" kill_again_and_again
	ok "packed=$1: the guest saw no error and no mismatch" guest_end
	ok "packed=$1: the client ends cleanly" stop client
	stop nbdkit
	same "packed=$1: every byte is what the guest read" "$(guest_result disk-sha512)" "$(sha512_of "$tmp/disk")"
	ok "packed=$1: ext4 is clean" e2fsck -fn "$tmp/disk"
	same "packed=$1: ext4's file has the content" "$(content_sha512)" "$(ext4_content_sha512 "$tmp/disk")"
}

plan 14
guest_with off
guest_with on
