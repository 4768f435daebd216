#!/bin/bash
# qemu, libnbd's tools and fio read back from every cache mode what they wrote, over TCP and Unix sockets.
# If this fails, a client in the wild cannot use the server, or loses data.
. "$(dirname "$0")/peers.sh"
needs qemu-img qemu-io nbdcopy nbdinfo nbdsh fio

mib=48

copies_both_ways()
{
	nbdcopy "$tmp/source" "$1" && cmp "$tmp/source" "$2" && nbdcopy "$1" "$tmp/back" && cmp "$tmp/source" "$tmp/back"
}

qemu_converts()
{
	qemu-img convert -n -f raw -O raw "$tmp/source2" "$1" && qemu-img compare -f raw -F raw "$tmp/source2" "$1" &&
		cmp "$tmp/source2" "$2"
}

# Unaligned, overlapping, forced to the disk, zeroed, trimmed.
qemu_patterns()
{
	qemu-io -f raw "$1" -c 'write -P 1 0 1M' -c 'write -f -P 2 511 4099' -c 'write -z 8k 8k' -c 'write -z -u 32k 8k' \
		-c 'discard 64k 64k' -c flush -c 'read -P 1 0 511' -c 'read -P 2 511 4099' -c 'read -P 1 4610 3582' \
		-c 'read -P 0 8k 8k' -c 'read -P 1 16k 16k' -c 'read -P 0 32k 8k' -c 'aio_write -P 3 100k 32M' \
		-c aio_flush -c 'read -P 3 100k 32M' -c "read -P 9 $((mib - 1))M 2M" | tee "$tmp/qemu-io" &&
		! grep -q 'Pattern verification failed' "$tmp/qemu-io" &&
		tail -1 "$tmp/qemu-io" | grep -q 'read failed'
}

libnbd_commands()
{
	# Debian's Python has the module, whichever one stands first in the path.
	PATH=/usr/bin:$PATH nbdsh -u "$1" -c '
h.pwrite(b"a" * 1000, 12345, nbd.CMD_FLAG_FUA)
assert h.pread(1002, 12344)[1:-1] == b"a" * 1000
h.zero(500, 12345, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
assert h.pread(1000, 12345) == bytes(500) + b"a" * 500
try:
    h.zero(1 << 20, 1 << 20, nbd.CMD_FLAG_FAST_ZERO)
    assert h.pread(1 << 20, 1 << 20) == bytes(1 << 20)
except nbd.Error as error:
    assert error.errnum == errno.ENOTSUP, error
h.trim(1 << 20, 2 << 20, nbd.CMD_FLAG_FUA)
h.cache(1 << 20, 0)
h.flush()
for flags in 0, nbd.CMD_FLAG_DF:
    chunks = []
    h.pread_structured(1 << 20, 0, lambda data, offset, status, error: chunks.append((offset, len(data))), flags)
    assert chunks == [(0, 1 << 20)], chunks
cookies = [h.aio_pread(nbd.Buffer(4096), i * 4096) for i in range(400)]
while h.aio_in_flight():
    h.poll(-1)
assert all(h.aio_command_completed(cookie) for cookie in cookies)
assert h.can_multi_conn() and h.can_flush() and h.can_fua() and h.get_block_size(nbd.SIZE_MAXIMUM) == 32 << 20
h.shutdown()
'
}

fio_verifies()
{
	(cd "$tmp" && fio --name=v --ioengine=nbd --uri="$1" --rw=randrw --bsrange=512-64k --bs_unaligned \
		--size=${mib}M --io_size=32M --iodepth=32 --verify=crc32c --fsync=50 --verify_fatal=1 --output="$tmp/fio") ||
		{ cat "$tmp/fio"; false; }
}

plan 39
head -c ${mib}M /dev/urandom >"$tmp/source"
truncate -s 40M "$tmp/source2"
head -c 8M /dev/urandom >>"$tmp/source2"
modes=(writeback writethrough none directsync unsafe)
exports=()
for mode in "${modes[@]}"; do
	truncate -s ${mib}M "$tmp/$mode"
	exports+=(--export "$mode=$tmp/$mode,cache=$mode,description=the $mode disk")
done
start_server --listen "unix:$tmp/nbd" --listen 127.0.0.1:0 "${exports[@]}"
port=$(server_port)

n=0
for mode in "${modes[@]}"; do
	if [ $((n++ % 2)) -eq 0 ]; then
		uri="nbd+unix:///$mode?socket=$tmp/nbd"
	else
		uri="nbd://127.0.0.1:$port/$mode"
	fi
	ok "$mode: nbdcopy both ways" copies_both_ways "$uri" "$tmp/$mode"
	ok "$mode: qemu-img convert and compare" qemu_converts "$uri" "$tmp/$mode"
	ok "$mode: qemu-io's patterns" qemu_patterns "$uri"
	ok "$mode: libnbd's commands" libnbd_commands "$uri"
	ok "$mode: fio with verification" fio_verifies "$uri"
	ok "$mode: nbdinfo" nbdinfo "$uri"
	same "$mode: its description" "the $mode disk" "$(nbdinfo --json "$uri" | sed -n 's/.*"description": "\(.*\)".*/\1/p')"
done
ok "qemu-img map" qemu-img map -f raw "nbd://127.0.0.1:$port/writeback"
same "nbdinfo --list tells all" 5 "$(nbdinfo --list "nbd://127.0.0.1:$port" | grep -c '^export=')"
ok "an unknown name is refused" bash -c "! nbdinfo nbd://127.0.0.1:$port/nobody"
ok "the server ends cleanly" stop server
