#!/bin/bash
# vnbd-server and an NBD client (libnbd, in vnbd-client's links) speak over AF_VSOCK, in a guest whose kernel has its loopback.
# If this fails, virtual machines without a network do not reach the disks of their host.
. "$(dirname "$0")/peers.sh"
. "$tests/guest/host.sh"

plan 2
ok "reads, writes and verifies" guest vsock --timeout 100 --program "$build/vnbd-server" \
	--program "$build/tests/link-exercise" -- -smp 1
same "where it said it would listen" "nbd+vsock://any:10809 nbd+vsock://1:4000" \
	"$(sed -n 's/.*listening on //p' "$tmp/guest.log" | xargs)"
