#!/bin/bash
# Random reads, writes, flushes, trims and zeroes, in one piece or scattered, through one connection or several, end as
# they should with every NBD server, carried by our own engine or by libnbd.  If this fails, a guest's data is wrong on some server.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit qemu-nbd nbd-server nbdinfo unshare

exercise()
{
	timeout 120 "$build/tests/link-exercise" --fill --requests=3000 --seed=$RANDOM "$@" "$uri"
}

plan 13
truncate -s 32M "$tmp/disk"
for server in vnbd-server nbdkit qemu-nbd nbd-server; do
	serve $server
	ok "$server, one connection" exercise
	ok "$server, three connections, long requests" exercise --connections=3 --requests=400 --longest=512 --depth=16
	ok "$server, by libnbd" with_libnbd exercise --requests=2000 --connections=2
	kill_server
done
serve nbdkit --filter=delay -- delay-read=3ms delay-write=1ms
ok "nbdkit, replies delayed and out of order" exercise --depth=128 --connections=2
