#!/bin/bash
# If this fails, a workload like a database's or a virtual machine's gets other bytes back than it wrote.
. "$(dirname "$0")/peers.sh"
needs fio
fio --enghelp | grep -qw nbd || skip_all "this fio has no nbd engine"

mib=32

# verifies URI OPTION...: a job that writes, syncs and reads back, and fails on the first wrong block.
verifies()
{
	(cd "$tmp" && fio --name=verify --ioengine=nbd --uri="$1" --size=${mib}M --randrepeat=0 --verify=crc32c \
		--verify_fatal=1 --output="$tmp/fio" "${@:2}") || { cat "$tmp/fio"; false; }
}

modes=(writeback writethrough none directsync unsafe)
exports=()
for mode in "${modes[@]}"; do
	truncate -s ${mib}M "$tmp/$mode"
	exports+=(--export "$mode=$tmp/$mode,cache=$mode")
done
plan $((${#modes[@]} * 2 + 2))
start_server --listen "unix:$tmp/nbd" 127.0.0.1:0 "${exports[@]}"

for mode in "${modes[@]}"; do
	ok "$mode: 4 KiB, random, 64 deep, a sync now and then" verifies "nbd+unix:///$mode?socket=$tmp/nbd" \
		--rw=randwrite --bs=4k --iodepth=64 --io_size=16M --fsync=100
	ok "$mode: any size at any place, reads and writes mixed, over TCP" verifies "nbd://127.0.0.1:$(server_port)/$mode" \
		--rw=randrw --bsrange=512-64k --bs_unaligned --iodepth=32 --io_size=24M --fsync=50
done
ok "trims beside writes" verifies "nbd+unix:///writeback?socket=$tmp/nbd" --rw=randtrimwrite --bs=16k --iodepth=16 \
	--io_size=16M --verify=0
ok "the server ends cleanly" stop server
