#!/bin/bash
# When the server comes back with another export under the same name, nothing is sent to it, the log says what is wrong,
# and when the right one is back the guest goes on.
# If this fails, a guest's writes go to a disk that is not its own.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit nbdinfo

has_begun()
{
	has_said exercise '^after' 1 || gone exercise
}

has_told()
{
	has_said exercise "$1"
}

ends_well()
{
	wait_until 60 gone exercise && stop exercise
}

# replaced_by WHAT PATTERN COMMAND...: the server comes back changed, and after that as it was.
replaced_by()
{
	local what=$1 pattern=$2

	shift 2
	rm -f "$tmp/exercise.log"
	start exercise "$build/tests/link-exercise" --fill --requests=15000 --longest=16 "$uri"
	wait_until $ready_s has_begun
	kill_server
	"$@"
	ok "$what is told" wait_until $ready_s has_told "$pattern"
	kill_server
	truncate -s 64M "$tmp/disk"
	serve nbdkit
	ok "and when the right export is back, all is right" ends_well
}

comes_back_smaller()
{
	cp "$tmp/disk" "$tmp/whole"
	truncate -s 60M "$tmp/disk"
	serve nbdkit
	wait_until $ready_s has_told shrank
	cp "$tmp/whole" "$tmp/disk"
}

plan 6
truncate -s 64M "$tmp/disk"
serve nbdkit
replaced_by "a smaller export" 'error: .* shrank from 67108864 to 62914560 bytes' comes_back_smaller
replaced_by "a read-only export" 'error: .* became read-only' serve nbdkit --readonly
replaced_by "an export without zeroes" 'error: .* lost its ability zero' serve nbdkit --filter=nozero
