#!/bin/bash
# Requests longer than a server takes are split, and its smallest block is respected.
# If this fails, a guest's large write is an I/O error with servers that have limits.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit nbdinfo

exercise()
{
	timeout 120 "$build/tests/link-exercise" --fill --requests=400 --longest=512 --seed=$RANDOM "$@" "$uri"
}

plan 4
truncate -s 32M "$tmp/disk"
# The policy makes every request beyond the limits an error, trims and zeroes of any length excepted.
serve nbdkit --filter=blocksize-policy -- blocksize-minimum=4096 blocksize-preferred=64k blocksize-maximum=64k \
	blocksize-error-policy=error
ok "64 KiB at most" exercise
ok "the same by libnbd" with_libnbd exercise
kill_server
serve nbdkit --filter=blocksize-policy -- blocksize-minimum=512 blocksize-preferred=4096 blocksize-maximum=12k \
	blocksize-error-policy=error
ok "12 KiB at most, no power of two" exercise --connections=2
kill_server
serve nbdkit --filter=nozero --filter=cache -- zeromode=notrim
ok "a server that makes data of zeroes" exercise
