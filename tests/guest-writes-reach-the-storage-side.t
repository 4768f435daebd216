#!/bin/bash
# A Linux guest works on two disks, each through a vnbd-client of its own and vnbd-server: one with the disk's write cache on
# and split rings, one with the cache switched off from inside and packed rings; then the storage side is compared with what
# the guest wrote.
# If this fails, a virtual machine's files are not what it wrote, or its trims free no space.
. "$(dirname "$0")/peers.sh"
. "$tests/guest/host.sh"
needs e2fsck debugfs xfs_repair

# Where the job puts its file systems: the disk's size, and offset and size of each, all in MiB.
disk_mib=88
ext4_mib=(1 40)
xfs_mib=(41 47)

# serve_client DISK: the server's export of that name.
serve_client()
{
	start_ready "client-$1" '^vnbd-client: listening on ' "$build/vnbd-client" --socket-path="$tmp/$1.sock" --num-queues=2 \
		"nbd+unix:///$1?socket=$tmp/nbd"
}

# check_storage CACHE DISK: everything the guest can tell about its disk holds on the storage side.
check_storage()
{
	same "$1: every byte is what the guest read" "$(guest_result "$2-disk-sha512")" "$(sha512_of "$tmp/$2")"

	part "$tmp/$2" "${ext4_mib[@]}"
	ok "$1: ext4 is clean" e2fsck -fn "$tmp/part"
	same "$1: ext4's file has the content" "$(content_sha512)" "$(ext4_content_sha512 "$tmp/part")"
	same "$1: the guest read ext4's file back" "$(content_sha512)" "$(guest_result "$2-ext4-content-sha512")"

	part "$tmp/$2" "${xfs_mib[@]}"
	ok "$1: xfs is clean" xfs_repair -f -n "$tmp/part"
	same "$1: the guest read xfs's file back" "$(content_sha512)" "$(guest_result "$2-xfs-content-sha512")"

	ok "$1: trims freed space on the storage side" [ "$(allocated_mib "$tmp/$2")" -lt $((disk_mib / 2)) ]
}

plan 18
fallocate -l ${disk_mib}M "$tmp/vda"
fallocate -l ${disk_mib}M "$tmp/vdb"
start_server --listen "unix:$tmp/nbd" --export "vda=$tmp/vda,cache=writeback" --export "vdb=$tmp/vdb,cache=writeback"
serve_client vda
serve_client vdb
ok "the guest formats, writes, verifies, trims and checks" guest filesystems --timeout 300 --env QUEUES=2 \
	--env SEGMENT_MAX=$((8 << 20)) --env DISKS="writeback:off writethrough:on" \
	--vhost-user "$tmp/vda.sock,num-queues=2,packed=off" --vhost-user "$tmp/vdb.sock,num-queues=2,packed=on"
ok "writeback: the client ends cleanly" stop client-vda
ok "writethrough: the client ends cleanly" stop client-vdb
ok "the server ends cleanly" stop server
check_storage writeback vda
check_storage writethrough vdb
