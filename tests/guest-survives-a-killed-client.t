#!/bin/bash
# vnbd-client is killed again and again, at any moment, while a guest writes and verifies over a server that answers out
# of order, and started again; once it is stopped as planned.  VNBD_KILLS: how often, for each layout of the rings.
# If this fails, a crash or an update of the daemon costs virtual machines their data, or their disk until they reboot.
. "$(dirname "$0")/peers.sh"
. "$tests/guest/host.sh"
needs nbdkit nbdinfo qemu-io e2fsck debugfs

kills=${VNBD_KILLS:-2}

disk_mib=40
told_at=$((36 * 1024 * 1024))

# serve_disk: reads in 5 ms, writes in 60.  nbdkit 1.32 aborts now and then when its client has died with replies on
# their way ("raw_send_socket: Assertion"), so it is started again; what it has acknowledged is in the file.
serve_disk()
{
	# shellcheck disable=SC2016
	start nbdkit bash -c 'while :; do
		rm -f "$1"
		nbdkit -f --exit-with-parent -U "$1" --filter=delay file "$2" rdelay=5ms wdelay=60ms
	done' nbdkit "$tmp/nbd" "$tmp/disk"
}

disk_is_served()
{
	nbdinfo --size "nbd+unix:///?socket=$tmp/nbd" >/dev/null 2>&1
}

# serve: once more where the disk's server went away while the client started.
serve()
{
	local ready='^vnbd-client: listening on ' before

	for _ in 1 2 3 4 5; do
		wait_until $ready_s disk_is_served
		before=$(said client "$ready")
		start client "$build/vnbd-client" --socket-path="$tmp/vhost" --num-queues=2 "nbd+unix:///?socket=$tmp/nbd"
		wait_until $ready_s ready_or_gone client "$ready" "$before"
		[ "$(said client "$ready")" -eq "$before" ] || return 0
		stop client KILL
	done
	return 1
}

# A writing guest has something in flight nearly always; a planned stop is as good a moment as any.
kill_again_and_again()
{
	local kill

	killed=0
	for ((kill = 1; kill <= kills; kill++)); do
		sleep "$(printf '%d.%03d' $((RANDOM % 2 + 1)) $((RANDOM % 1000)))"
		if [ "$kill" -eq 2 ]; then
			stop client || return
		else
			stop client KILL
		fi
		gone guest && return
		serve || return
		killed=$kill
	done
}

# guest_with off|on: packed rings.  One queue, so that quick reads overtake slow writes in it.
guest_with()
{
	rm -f "$tmp/disk" "$tmp/nbd"
	fallocate -l ${disk_mib}M "$tmp/disk"
	serve_disk
	serve
	guest_start soak --timeout $((kills * 10 + 150)) --env TOLD_AT=$told_at --env READ=yes --env PASS_SIZE=6m --reconnect \
		--vhost-user "$tmp/vhost,num-queues=1,packed=$1" -- -smp 1
	ok "packed=$1: the guest is at work" guest_says "pass 2" 120
	kill_again_and_again
	same "packed=$1: the client died $kills times and came back" "$kills" "$killed"
	ok "packed=$1: the guest can be told that it is enough" wait_until $ready_s tell_guest "nbd+unix:///?socket=$tmp/nbd" $told_at
	ok "packed=$1: the guest saw no error and no mismatch" guest_end
	ok "packed=$1: the client ends cleanly" stop client
	stop nbdkit KILL
	same "packed=$1: every byte is what the guest read" "$(guest_result disk-sha512)" "$(sha512_of "$tmp/disk")"
	ok "packed=$1: ext4 is clean" e2fsck -fn "$tmp/disk"
	same "packed=$1: ext4's file has the content" "$(content_sha512)" "$(ext4_content_sha512 "$tmp/disk")"
}

plan 16
guest_with off
guest_with on
