#!/bin/bash
# A server that comes back without an ability that the guest never had is as good as before.
# If this fails, a guest stands still for ever because its export was moved to a filesystem that cannot do something that it
# has never asked for.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit nbdinfo "$build/bench/vuload"

s=$tmp/vm.sock


goes_on()
{
	start load "$build/bench/vuload" load "$s" --pattern=mix --qd=8 --queues=1 --range=8M --time=3 --timeout=30000
	wait_until $ready_s has_begun
	kill_server
	serve nbdkit --filter=multi-conn --filter=nocache -- multi-conn-mode=disable cachemode=none
	wait_until 30 gone load && stop load
}

has_begun()
{
	grep -q ' Read ' "$tmp/nbdkit-log"
}

plan 2
truncate -s 64M "$tmp/disk"
serve nbdkit --filter=log -- logfile="$tmp/nbdkit-log"
start_client "$s" --threads=1 "$uri"
ok "no hints, and no flush for others" goes_on
ok "nothing is complained of" bash -c "! grep 'lost its ability' '$tmp/client.log'"
stop client
