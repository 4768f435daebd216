#!/bin/bash
# An error that a server answers ends the request with that error, and nothing else is disturbed.
# If this fails, a guest never learns that its disk is full, or sees errors that were none.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit nbdinfo

exercise()
{
	timeout 120 "$build/tests/link-exercise" --requests=3000 --seed=$RANDOM --errors-allowed=100000 "$@" "$uri" >"$tmp/out" 2>&1
	status=$?
	cat "$tmp/out"
	return $status
}

# told TEXT: requests failed, all with that error.
told()
{
	grep '^ERROR' "$tmp/out"
	grep -q '^ERROR' "$tmp/out" && ! grep '^ERROR' "$tmp/out" | grep -v -q "$1"
}

# all_errors NAME: each way to fail once.
all_errors()
{
	serve nbdkit --filter=error -- error-pwrite=ENOSPC error-pwrite-rate=10%
	ok "$1: some writes fail, all else is right" exercise
	ok "$1: they fail for lack of space" told 'No space left on device'
	kill_server
	serve nbdkit --filter=error -- error-pread=EIO error-pread-rate=10%
	ok "$1: some reads fail, all else is right" exercise --connections=2
	ok "$1: they fail with an I/O error" told 'Input/output error'
	kill_server
	# NBD_ESHUTDOWN is no answer but the end of the connection.  With several threads nbdkit does not live through that.
	serve nbdkit --threads 1 --filter=error -- error-pwrite=ESHUTDOWN error-pwrite-rate=1%
	ok "$1: a server that says it shuts down is dialled again" exercise --requests=300
	ok "$1: and no request fails for it" grep -q '; errors 0, mismatches 0' "$tmp/out"
}

plan 12
truncate -s 64M "$tmp/disk"
all_errors "our engine"
kill_server
with_libnbd all_errors libnbd
