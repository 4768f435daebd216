#!/bin/bash
# The storage side enlarges an export below a mounted file system: the guest's disk grows, resize2fs fills it, and what is
# written to the new space arrives.  Once vnbd-client finds it out by itself; once it was not there when it happened.
# If this fails, a full disk costs the virtual machine a reboot, or ends in I/O errors past the old end.
. "$(dirname "$0")/peers.sh"
. "$tests/guest/host.sh"
. "$tests/nbd-servers.sh"
needs nbdkit nbdinfo e2fsck debugfs

plan 10
truncate -s 16M "$tmp/disk"
serve nbdkit
start_client "$tmp/vhost" --num-queues=2 "$uri"
guest_start grow --timeout 100 --env SIZES="$((40 * 2048)) $((80 * 2048))" --reconnect \
	--vhost-user "$tmp/vhost,num-queues=2"

ok "the guest has mounted 16 MiB" guest_says "ready to grow 1" 60
truncate -s 40M "$tmp/disk"
kill -s HUP "${pid_of[client]}"
ok "it grew to 40 and is in use" guest_says "ready to grow 2" 60
ok "which the client's log tells" grep -q 'the export has grown from 16777216 to 41943040 bytes' "$tmp/client.log"

ok "the client ends" stop client
truncate -s 80M "$tmp/disk"
start_client "$tmp/vhost" --num-queues=2 "$uri"
ok "it grew to 80 and the guest saw no error" guest_end
ok "the client ends cleanly" stop client
kill_server
same "the host's file has the size" $((80 << 20)) "$(stat -c %s "$tmp/disk")"
same "every byte is what the guest read" "$(guest_result disk-sha512)" "$(sha512_of "$tmp/disk")"
ok "ext4 is clean" e2fsck -fn "$tmp/disk"
same "ext4's file has the content" "$(content_sha512)" "$(ext4_content_sha512 "$tmp/disk")"
