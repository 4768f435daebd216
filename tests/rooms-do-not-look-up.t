#!/bin/bash
# Includes go one way: a lower room never includes a higher one, and server/ and client/ never each other.
# If this fails, the rooms cannot be used or understood one by one any more.
cd "$(dirname "$0")/.." || exit 1

# room: what it may include beside itself. One leaf may cross: the NBD wire, from server/ to client/.
declare -A may=(
	[conf]=''
	[cache]='conf'
	[virtio]='cache conf'
	[server]='cache conf'
	[client]='virtio cache conf server/nbd_wire.h'
)

echo "1..${#may[@]}"
number=0
for room in "${!may[@]}"; do
	number=$((number + 1))
	allowed=$(printf '%s|' $room ${may[$room]})
	wrong=$(grep -nE '^#include "' "$room"/*.[ch] | grep -vE "#include \"(${allowed%|})(/|\")" || true)
	if [ -z "$wrong" ]; then
		echo "ok $number - $room/ includes only: $room ${may[$room]}"
	else
		echo "not ok $number - $room/ includes only: $room ${may[$room]}"
		printf '%s\n' "$wrong" | sed 's/^/# /'
	fi
done
