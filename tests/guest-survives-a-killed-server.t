#!/bin/bash
# vnbd-server is killed three times while a guest writes and verifies, and comes back after a moment or a few seconds.
# If this fails, one crash of the storage daemon gives virtual machines I/O errors or wrong data.
. "$(dirname "$0")/peers.sh"
. "$tests/guest/host.sh"
needs e2fsck debugfs

serve()
{
	start_server --listen "127.0.0.1:$1" --export "vm=$tmp/disk"
}

# kill_in_pass N SECONDS-AWAY: in the middle of the guest's pass N.
kill_in_pass()
{
	ok "the guest works on, pass $1" guest_says "pass $1" 60
	sleep 0.3
	stop server KILL
	sleep "$2"
	serve "$port"
}

plan 9
fallocate -l 64M "$tmp/disk"
serve 0
port=$(server_port)
start_client "$tmp/vhost" --num-queues=2 "nbd://127.0.0.1:$port/vm"
guest_start soak --timeout 200 --env SOAK_PASSES=5 --vhost-user "$tmp/vhost,num-queues=2"
kill_in_pass 2 0
kill_in_pass 3 1
kill_in_pass 4 3
ok "the guest saw no error and no mismatch" guest_end
ok "the client ends cleanly" stop client
ok "the server ends cleanly" stop server
same "every byte is what the guest read" "$(guest_result disk-sha512)" "$(sha512_of "$tmp/disk")"
ok "ext4 is clean" e2fsck -fn "$tmp/disk"
same "ext4's file has the content" "$(content_sha512)" "$(ext4_content_sha512 "$tmp/disk")"
