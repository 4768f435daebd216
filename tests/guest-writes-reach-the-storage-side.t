#!/bin/bash
# A Linux guest works on a disk through vnbd-client and vnbd-server, once with the disk's write cache on and split rings,
# once with the cache switched off from inside and packed rings; then the storage side is compared with what the guest
# wrote.
# If this fails, a virtual machine's files are not what it wrote, or its trims free no space.
. "$(dirname "$0")/peers.sh"
. "$tests/guest/host.sh"
needs e2fsck debugfs xfs_repair

# Where the job puts its file systems: the disk's size, and offset and size of each, all in MiB.
disk_mib=384
ext4_mib=(1 72)
xfs_mib=(73 311)

# check_storage CACHE: everything the guest can tell about its disk holds on the storage side.
check_storage()
{
	same "$1: every byte is what the guest read" "$(guest_result disk-sha512)" "$(sha512_of "$tmp/disk")"

	part "$tmp/disk" "${ext4_mib[@]}"
	ok "$1: ext4 is clean" e2fsck -fn "$tmp/part"
	same "$1: ext4's file has the content" "$(content_sha512)" "$(ext4_content_sha512 "$tmp/part")"
	same "$1: the guest read ext4's file back" "$(content_sha512)" "$(guest_result ext4-content-sha512)"

	part "$tmp/disk" "${xfs_mib[@]}"
	ok "$1: xfs is clean" xfs_repair -f -n "$tmp/part"
	same "$1: the guest read xfs's file back" "$(content_sha512)" "$(guest_result xfs-content-sha512)"

	ok "$1: trims freed space on the storage side" [ "$(allocated_mib "$tmp/disk")" -lt $((disk_mib / 2)) ]
}

# guest_with writeback|writethrough on|off: the cache, packed rings
guest_with()
{
	rm -f "$tmp/disk"
	fallocate -l ${disk_mib}M "$tmp/disk"
	start_server --listen "unix:$tmp/nbd" --export "vm=$tmp/disk,cache=writeback"
	start_client "$tmp/vhost" --num-queues=2 "nbd+unix:///vm?socket=$tmp/nbd"
	ok "$1: the guest formats, writes, verifies, trims and checks" guest filesystems --timeout 150 \
		--env QUEUES=2 --env SEGMENT_MAX=$((8 << 20)) --env CACHE="$1" --env PACKED="$2" --vhost-user "$tmp/vhost,num-queues=2,packed=$2"
	ok "$1: the client ends cleanly" stop client
	ok "$1: the server ends cleanly" stop server
	check_storage "$1"
}

plan 20
guest_with writeback off
guest_with writethrough on
