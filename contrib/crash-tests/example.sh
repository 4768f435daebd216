#!/bin/bash
# example.sh -- a crash test in a shell: is a file that is replaced by two writes, without a flush between them, whole
# after a power cut? (No: the second may be there without the first.)  Every state of the last moment is looked at.
set -eu
cd "$(dirname "$0")/../.."
build=$(realpath "${VNBD_BUILD:-build/release}")
export PATH=$build:$PATH
tmp=$(mktemp -d)
trap 'kill $server 2>/dev/null; rm -rf "$tmp"' EXIT

truncate -s 1M "$tmp/disk"
vnbd-server --listen "unix:$tmp/nbd" --control "unix:$tmp/control" --export "disk=$tmp/disk" 2>"$tmp/log" &
server=$!
until grep -q listening "$tmp/log"; do sleep 0.1; done
cp "$tmp/disk" "$tmp/base"
vnbdctl --socket "$tmp/control" record disk start "$tmp/record"
qemu-io -t writeback -f raw "nbd+unix:///disk?socket=$tmp/nbd" -c 'write -P 65 0 4k' -c flush -c 'write -P 66 0 4k' -c 'write -P 66 4k 4k' \
	-c 'read 0 8k' >/dev/null
vnbdctl --socket "$tmp/control" record disk stop

# Before the client's last flush, which it sends when it closes.
moment=$(vnbd-replay list --json "$tmp/record" | grep '"op":"read"' | head -n 1 | sed 's/.*"entry":\([0-9]*\).*/\1/')
states=$(vnbd-replay count --at "entry:$moment" "$tmp/record" | sed -n 's/^states *//p')
for ((state = 0; state < states; state++)); do
	vnbd-replay image --base "$tmp/base" --at "entry:$moment" --crash "enumerate:$state" -o "$tmp/state" "$tmp/record"
	printf 'state %d of %d: %s%s\n' $((state + 1)) "$states" "$(head -c 1 "$tmp/state")" "$(tail -c +4097 "$tmp/state" | head -c 1 | tr '\0' -)"
done
