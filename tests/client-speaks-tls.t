#!/bin/bash
# A disk whose server speaks nothing but TLS, with certificates and with a key: requests, a server that goes, an export
# that grows; without the right ones, no disk, and never a secret in the log.
# If this fails, an operator has to choose between a machine's disk and one that nobody on the network can read or change.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/tls.sh"
needs "$build/bench/vuload"

told()
{
	wait_until $ready_s said_once "$1"
}

said_once()
{
	has_said client "$1"
}

load()
{
	timeout 60 "$build/bench/vuload" load "$tmp/vm.sock" --pattern=mix --queues=2 --qd=8 --verify --range=8M --time="$1"
}

serve()
{
	start_server --listen "127.0.0.1:$1" --export "vm1=$tmp/disk" "${@:2}"
}

# The server is killed below the load, and is back at the same port.
survives()
{
	start load timeout 60 "$build/bench/vuload" load "$tmp/vm.sock" --pattern=mix --queues=2 --qd=8 --verify \
		--range=8M --time=2
	sleep 0.7
	stop server KILL
	serve "$port" "$@"
	wait_until 60 gone load && stop load
}

# works WITH URI SERVER-ARGUMENT...
works()
{
	local with=$1 uri=$2

	shift 2
	truncate -s 16M "$tmp/disk"
	rm -f "$tmp/client.log"
	start_client "$tmp/vm.sock" --num-queues=2 --connections=2 "$uri"
	ok "$with: requests" load 1
	ok "$with: a server that goes" survives "$@"
	truncate -s 20M "$tmp/disk"
	kill -s HUP "${pid_of[client]}"
	ok "$with: an export that grows" told 'has grown from 16777216 to 20971520 bytes'
	stop client
}

# refused PATTERN URI: with status 1.
refused()
{
	local status=0

	timeout 20 "$build/vnbd-client" --socket-path="$tmp/vm.sock" "$2" >"$tmp/refused.log" 2>&1 || status=$?
	cat "$tmp/refused.log"
	[ $status -eq 1 ] && grep -qE "^vnbd-client: error: .*$1" "$tmp/refused.log"
}

plan 13
make_authority "$tmp/ca"
make_server_certificates "$tmp/ca" "$tmp/server"
make_certificates "$tmp/ca" "$tmp/vm1" client 'cn = "vm1"' tls_www_client
make_authority "$tmp/foreign"
make_certificates "$tmp/foreign" "$tmp/stranger" client 'cn = "vm1"' tls_www_client
make_key "$tmp/keys" vm1
make_key "$tmp/wrong" vm1
truncate -s 16M "$tmp/disk"

certificates=(--tls-certificates "$tmp/server")
serve 0 "${certificates[@]}"
port=$(server_port)
works certificates "nbds://127.0.0.1:$port/vm1?tls-certificates=$tmp/vm1" "${certificates[@]}"
ok "without TLS: no disk" refused 'TLS' "nbd://127.0.0.1:$port/vm1"
ok "a stranger's certificate: no disk" refused '' "nbds://127.0.0.1:$port/vm1?tls-certificates=$tmp/stranger"
ok "no authority's certificate where the URI says: no disk" refused 'none/ca-cert.pem: No such file or directory' \
	"nbds://127.0.0.1:$port/vm1?tls-certificates=$tmp/none"
ok "TLS with whoever answers: no disk" refused 'nothing to hold the server' "nbds://127.0.0.1:$port/vm1"
stop server

psk=(--tls-psk "$tmp/keys")
serve "$port" "${psk[@]}"
works key "nbds://vm1@127.0.0.1:$port/vm1?tls-psk-file=$tmp/keys" "${psk[@]}"
ok "a wrong key: no disk" refused '' "nbds://vm1@127.0.0.1:$port/vm1?tls-psk-file=$tmp/wrong"
ok "no such key: no disk" refused '' "nbds://vm2@127.0.0.1:$port/vm1?tls-psk-file=$tmp/keys"
ok "the key's place and user are not logged" bash -c "! grep -E 'vm1@|tls-psk' '$tmp/client.log' '$tmp/refused.log'"
