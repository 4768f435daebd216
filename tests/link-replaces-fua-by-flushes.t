#!/bin/bash
# With a server that has no FUA, a write that has to be stable is followed by a flush before it is done.
# If this fails, what a guest in write-through mode was told to be stable is lost in a power cut.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit nbdinfo

# What the exercise asks for, from its last line: writes with FUA are a fifth or so.
exercise()
{
	timeout 120 "$build/tests/link-exercise" --requests=2000 --seed=7 --no-trim "$uri" >"$tmp/out" 2>&1
	status=$?
	cat "$tmp/out"
	return $status
}

flushes_asked()
{
	sed -n 's/.*flushes \([0-9]*\),.*/\1/p' "$tmp/out"
}

flushes_seen()
{
	grep -c ' Flush ' "$tmp/nbdkit-log"
}

plan 4
truncate -s 64M "$tmp/disk"
serve nbdkit --filter=log --filter=fua -- fuamode=pass logfile="$tmp/nbdkit-log"
ok "a server with FUA" exercise
same "sees only the guest's flushes" "$(flushes_asked)" "$(flushes_seen)"
kill_server
rm -f "$tmp/nbdkit-log"
serve nbdkit --filter=log --filter=fua -- logfile="$tmp/nbdkit-log"
ok "a server without FUA" exercise
more_flushes()
{
	[ "$(flushes_seen)" -gt $(($(flushes_asked) + 50)) ]
}
ok "sees a flush for each write that has to be stable" more_flushes
