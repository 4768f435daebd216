#!/bin/bash
# If this fails, some request (one byte off the grid, zeroes, a trim, a forced write) damages data in some cache mode.
. "$(dirname "$0")/peers.sh"
needs qemu-io

mib=48

# patterns URI COMMAND...: runs qemu-io's commands; a pattern that is not there fails, which its exit status does not say.
patterns()
{
	local uri=$1 command arguments=()

	shift
	for command; do
		arguments+=(-c "$command")
	done
	qemu-io -f raw "${arguments[@]}" "$uri" >"$tmp/said" 2>&1 && ! grep -E 'failed|error' "$tmp/said" ||
		{ cat "$tmp/said"; false; }
}

# file_has FILE COMMAND...: as patterns, in a file that the server has locked.
file_has()
{
	patterns "json:{\"driver\": \"raw\", \"file\": {\"driver\": \"file\", \"filename\": \"$1\", \"locking\": \"off\"}}" "${@:2}"
}

refused()
{
	! qemu-io -f raw -c "$2" "$1" >"$tmp/said" 2>&1 || { cat "$tmp/said"; false; }
}

modes=(writeback writethrough none directsync unsafe)
exports=()
for mode in "${modes[@]}"; do
	truncate -s ${mib}M "$tmp/$mode"
	exports+=(--export "$mode=$tmp/$mode,cache=$mode")
done
truncate -s $((mib * 1048576 + 777)) "$tmp/odd"
plan $((${#modes[@]} * 10 + 4))
start_server --listen "unix:$tmp/nbd" "${exports[@]}" --export "odd=$tmp/odd,cache=none" --export "ro=$tmp/odd,readonly"

for mode in "${modes[@]}"; do
	uri="nbd+unix:///$mode?socket=$tmp/nbd"
	ok "$mode: blocks" patterns "$uri" 'write -P 1 0 4M' 'write -P 2 4k 4k' 'read -P 1 0 4k' 'read -P 2 4k 4k' \
		'read -P 1 8k 4088k'
	ok "$mode: off the grid" patterns "$uri" 'write -P 3 511 4099' 'read -P 1 0 511' 'read -P 3 511 4099' \
		'read -P 2 4610 3582' 'write -P 4 1 1' 'read -P 1 0 1' 'read -P 4 1 1' 'read -P 1 2 509' \
		'write -P 5 1048575 2' 'read -P 1 1048574 1' 'read -P 5 1048575 2' 'read -P 1 1048577 7'
	ok "$mode: forced to the disk" patterns "$uri" 'write -f -P 6 64k 64k' 'read -P 6 64k 64k' \
		'write -f -P 7 70001 333' 'read -P 6 64k 4465' 'read -P 7 70001 333' 'read -P 6 70334 60738' flush
	ok "$mode: zeroes that stay allocated" patterns "$uri" 'write -z 128k 64k' 'read -P 0 128k 64k' 'read -P 1 192k 4k' \
		'write -z -f 200001 1000' 'read -P 1 196609 3392' 'read -P 0 200001 1000' 'read -P 1 201001 3'
	ok "$mode: zeroes that may be holes" patterns "$uri" 'write -z -u 256k 64k' 'read -P 0 256k 64k' 'read -P 1 320k 4k' \
		'write -z -u 330001 9000' 'read -P 1 330000 1' 'read -P 0 330001 9000' 'read -P 1 339001 3'
	ok "$mode: trims harm no neighbour" patterns "$uri" 'discard 512k 64k' 'read -P 1 508k 4k' 'read -P 1 576k 4k' \
		'discard 600001 9001' 'read -P 1 600000 1' 'read -P 1 609002 3'
	ok "$mode: 32 MiB at once" patterns "$uri" 'write -P 8 8M 32M' 'read -P 8 8M 32M' 'write -f -P 9 8388609 33554431' \
		'read -P 8 8388608 1' 'read -P 9 8388609 33554431'
	ok "$mode: several in flight" patterns "$uri" 'aio_write -P 11 41M 1M' 'aio_write -P 12 42M 1M' \
		'aio_write -P 13 43M 4097' 'aio_write -z 44M 64k' aio_flush 'aio_read -P 11 41M 1M' 'aio_read -P 12 42M 1M' \
		'aio_read -P 13 43M 4097' 'aio_read -P 0 44M 64k' aio_flush
	ok "$mode: to the last byte" patterns "$uri" "write -P 14 $(((mib << 20) - 3)) 3" "read -P 14 $(((mib << 20) - 3)) 3" flush
	ok "$mode: the file has what was read" file_has "$tmp/$mode" 'read -P 6 64k 4465' 'read -P 9 8388609 33554431' \
		"read -P 14 $(((mib << 20) - 3)) 3"
done
uri="nbd+unix:///odd?socket=$tmp/nbd"
ok "none, a size off the grid: its tail" patterns "$uri" "write -P 15 $((mib << 20)) 512" \
	"read -P 15 $((mib << 20)) 512" flush
same "none, a size off the grid: the file has not grown" $((mib * 1048576 + 777)) "$(stat -c %s "$tmp/odd")"
ok "readonly: a write is refused" refused "nbd+unix:///ro?socket=$tmp/nbd" 'write 0 4k'
ok "the server ends cleanly" stop server
