#!/bin/bash
# vnbd-client ends within seconds of SIGTERM, with status 0 and without its socket, whatever is in flight.
# If this fails, a host's shutdown hangs for as long as a storage node is away.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit nbdinfo "$build/bench/vuload"

s=$tmp/vm.sock

# Returns as soon as requests reach the server.
load()
{
	: >"$tmp/nbdkit-log"
	start load "$build/bench/vuload" load "$s" --pattern=mix --qd=16 --queues=2 --time=60 --timeout=60000
	wait_until $ready_s grep -q ' Read ' "$tmp/nbdkit-log"
}

ends()
{
	local begun=$SECONDS

	stop client || return
	[ ! -e "$s" ] && [ $((SECONDS - begun)) -le 5 ]
}

plan 4
truncate -s 64M "$tmp/disk"
serve nbdkit --filter=log -- logfile="$tmp/nbdkit-log" logappend=true
start_client "$s" "$uri"
ok "when idle" ends
start_client "$s" "$uri"
load
ok "under load" ends
stop load KILL
start_client "$s" "$uri"
load
kill_server
wait_until $ready_s grep -q 'connection lost' "$tmp/client.log"
ok "with requests in flight to a server that is gone" ends
stop load KILL
serve nbdkit --filter=log --filter=delay -- logfile="$tmp/nbdkit-log" logappend=true delay-read=60 delay-write=60
start_client "$s" "$uri"
load
ok "with requests in flight to a server that does not answer" ends
stop load KILL || true
