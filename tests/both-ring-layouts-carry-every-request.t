#!/bin/bash
# Requests come back verified through split and packed rings in every form a driver gives them: with and without event
# index and indirect tables, many segments, many queues, interrupts or polling, a record of what is in flight, in order
# or not, a disk that answers at once or later.
# If this fails, some guests' drivers lose requests or get wrong bytes, though others work.
. "$(dirname "$0")/peers.sh"
needs "$build/bench/vuload" "$build/tests/vblk-memory"

forms=(
	"--qd=16"
	"--qd=16 --event-idx=0"
	"--qd=16 --indirect=0"
	"--qd=40 --indirect=0 --segs=3 --event-idx=0 --qsize=256"
	"--qd=64 --segs=5 --queues=2 --batch=3"
	"--qd=4 --poll"
	"--qd=16 --inflight"
	"--qd=16 --inflight --indirect=0 --segs=2 --queues=2"
	"--qd=40 --in-order=1 --inflight --batch=3"
	"--qd=128 --in-order=1 --qsize=1024 --indirect=0 --segs=3"
)

# load PACKED FORM-ARGUMENT...
load()
{
	local packed=$1

	shift
	timeout 60 "$build/bench/vuload" load "$tmp/vhost" --packed="$packed" --verify --prefill --range=4M "$@" &&
		timeout 60 "$build/bench/vuload" load "$tmp/vhost" --packed="$packed" --verify --filled --range=4M \
			--pattern=mix --rdpct=50 --flush=20 --ops=20000 "$@"
}

plan $((2 * (2 * ${#forms[@]} + 1)))
for later in "" --later; do
	start_ready device '^ready' "$build/tests/vblk-memory" --socket="$tmp/vhost" $later
	for form in "${forms[@]}"; do
		# shellcheck disable=SC2086
		for packed in 0 1; do
			ok "packed=$packed ${later:-at once} $form" load $packed $form
		done
	done
	ok "the device ends cleanly" stop device
done
