#!/bin/bash
# A guest that reads and writes with verification moves from one QEMU to another, each with a vnbd-client of its own to the
# same export, and goes on there: no error, no stale page of memory, and the storage side holds what the guest wrote.
# If this fails, a virtual machine with this disk cannot be moved while it runs, or is damaged by it.
. "$(dirname "$0")/peers.sh"
. "$tests/guest/host.sh"
needs e2fsck debugfs qemu-io

disk_mib=96
told_at=$((80 * 1024 * 1024))

# run_guest NAME SOCKET ARGUMENT...: the two machines have to be the same, but for the socket.  (That
# run-guest says init_on_alloc=0 matters here: pages that the guest clears before the disk fills them would be copied for that
# reason alone.)
run_guest()
{
	local name=$1 socket=$2

	shift 2
	rm -f "$tmp/$name.log"
	start "$name" env TMPDIR="$tmp" "$tests/guest/run-guest" --image "$image" --script "$tests/guest/jobs/migrate" \
		--timeout 300 --mem 384M --env TOLD_AT=$told_at --env CACHED_MIB=24 --vhost-user "$socket,num-queues=2,packed=$packed" \
		-- -qmp "unix:$tmp/$name.qmp,server=on,wait=off" "$@"
}

at_work()
{
	wait_until 180 at_work_or_gone
	wait_until $ready_s [ -S "$tmp/migration" ]
	has_said source '^MARK reading'
}

at_work_or_gone()
{
	has_said source '^MARK reading' || gone source
}

target_end()
{
	local status pid=${pid_of[target]}

	wait "$pid"
	status=$?
	unset 'pid_of[target]'
	[ $status -eq 0 ] || tail -n 100 "$tmp/target.log"
	return $status
}

# move_with off|on: packed rings
move_with()
{
	packed=$1
	rm -f "$tmp/disk" "$tmp/"*.qmp "$tmp/migration"
	fallocate -l ${disk_mib}M "$tmp/disk"
	start_server --listen "unix:$tmp/nbd" --export "vm=$tmp/disk"
	start_client "$tmp/vhost-source" --num-queues=2 "nbd+unix:///vm?socket=$tmp/nbd"
	pid_of[client-source]=${pid_of[client]}
	start_client "$tmp/vhost-target" --num-queues=2 "nbd+unix:///vm?socket=$tmp/nbd"
	run_guest source "$tmp/vhost-source"
	run_guest target "$tmp/vhost-target" -incoming "unix:$tmp/migration"
	ok "packed=$packed: the guest is at work" at_work
	ok "packed=$packed: it moves" "$tests/guest/migrate-guest" "$tmp/source.qmp" "unix:$tmp/migration" 90
	stop source
	ok "packed=$packed: the first client ends cleanly" stop client-source
	ok "packed=$packed: the guest can be told that it has moved" tell_guest "nbd+unix:///vm?socket=$tmp/nbd" $told_at
	ok "packed=$packed: it saw no error and no mismatch" target_end
	ok "packed=$packed: the second client ends cleanly" stop client
	stop server
	same "packed=$packed: every byte is what the guest read" \
		"$(sed -n 's/^RESULT disk-sha512 //p' "$tmp/target.log")" "$(sha512_of "$tmp/disk")"
	ok "packed=$packed: ext4 is clean" e2fsck -fn "$tmp/disk"
	same "packed=$packed: ext4's file has the content" "$(content_sha512)" "$(ext4_content_sha512 "$tmp/disk")"
}

plan 18
move_with off
move_with on
