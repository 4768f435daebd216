#!/bin/bash
# The guest tests themselves fail when they should: a job's status, a panic, a hang, a failed request, a wrong byte.
# QEMU's own vhost-user disk is the device, so nothing of ours is needed.
# If this fails, every other guest test may pass on a disk that loses data.
. "$(dirname "$0")/peers.sh"
. "$tests/guest/host.sh"
needs qemu-storage-daemon

# serve_disk DRIVER-OPTIONS: a disk of 16 MiB at $tmp/vhost.
serve_disk()
{
	rm -f "$tmp/disk" "$tmp/vhost"
	truncate -s 16M "$tmp/disk"
	start disk qemu-storage-daemon --blockdev "node-name=disk,$1" --export \
		"vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path=$tmp/vhost,writable=on,num-queues=2"
	wait_until $ready_s [ -S "$tmp/vhost" ]
}

# ends_with STATUS COMMAND...
ends_with()
{
	local status

	"${@:2}"
	status=$?
	[ $status -eq "$1" ] || {
		echo "status: $status"
		return 1
	}
}

# script: a job from standard input.
script()
{
	cat >"$tmp/script"
}

plan 8

script <<<'exit 7'
ok "the job's status is the guest's" ends_with 7 guest "$tmp/script" -- -smp 1

script <<<'echo c >/proc/sysrq-trigger'
ok "a panic is told from a failed job" ends_with 125 guest "$tmp/script" -- -smp 1

script <<<'sleep 100'
ok "a hang ends in time" ends_with 124 guest "$tmp/script" --timeout 3 -- -smp 1

script <<'EOS'
if dd if=/dev/zero of=/dev/vda bs=4k count=64 oflag=direct; then
	fail "no request failed"
fi
expect_no_io_errors
EOS
serve_disk "driver=blkdebug,image.driver=file,image.filename=$tmp/disk,inject-error.0.event=none,\
inject-error.0.iotype=write,inject-error.0.sector=128"
ok "a failed request fails the job" ends_with 1 guest "$tmp/script" --vhost-user "$tmp/vhost,num-queues=2"
ok "... by what the kernel said of it" grep -qx 'FAIL the kernel complained' "$tmp/guest.log"
stop disk

# The guest writes, one byte changes behind its back, and the first sector tells it to go on.
script <<'EOS'
files='--filename=/dev/vda --offset=1m --size=8m --rw=randwrite --bsrange=512-64k --direct=1'
fio_phase write data $files
fio_phase verify data $files
mark written
until dd if=/dev/vda iflag=direct count=1 2>/dev/null | grep -q changed; do
	sleep 0.1
done
fio_phase verify data $files
EOS
serve_disk "driver=file,filename=$tmp/disk"
guest_start "$tmp/script" --timeout 60 --vhost-user "$tmp/vhost,num-queues=2"
ok "what was written is read" guest_says written 50
printf '\377\0' | dd of="$tmp/disk" bs=1 seek=5000000 conv=notrunc 2>/dev/null
printf changed | dd of="$tmp/disk" conv=notrunc 2>/dev/null
ok "a changed byte fails the job" ends_with 1 guest_end
ok "... by fio's verification" grep -qi 'verify.*failed' "$tmp/guest.log"
