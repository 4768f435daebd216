#!/bin/bash
# Over TLS everything is as without it: requests, errors, a killed server; and only with the right key.
# If this fails, an operator has to choose between a disk that works and one that nobody on the network can read.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
. "$(dirname "$0")/tls.sh"
needs nbdkit nbdinfo

echo "vm1:$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')" >"$tmp/keys"
echo "vm1:$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')" >"$tmp/wrong"
uri="nbds+unix://vm1@/disk?socket=$tmp/nbd&tls-psk-file=$tmp/keys"

serve_tls()
{
	serve nbdkit --tls=require --tls-psk="$tmp/keys" --filter=delay -- delay-write=1ms
}

exercise()
{
	timeout 120 "$build/tests/link-exercise" --fill --requests=1500 --seed=$RANDOM "$@" "$uri" >"$tmp/out" 2>&1
	status=$?
	cat "$tmp/out"
	return $status
}

has_begun()
{
	has_said exercise '^after' 1 || gone exercise
}

survives()
{
	start exercise "$build/tests/link-exercise" --fill --requests=10000 --longest=8 --connections=2 "$uri"
	wait_until $ready_s has_begun
	kill_server
	serve_tls
	wait_until 120 gone exercise
	stop exercise || {
		cat "$tmp/exercise.log"
		return 1
	}
	grep -q 'requests wait: [1-9]' "$tmp/exercise.log"
}

refused()
{
	timeout 20 "$build/tests/link-exercise" "${uri/keys/wrong}"
	[ $? -eq 2 ]
}

not()
{
	! "$@"
}

# trusts DIR URI-HOST: the client, who has DIR's authority, connects to a server with $tmp/server's certificate.
trusts()
{
	timeout 60 "$build/tests/link-exercise" --requests=10 "nbds://$2:$(server_port)/disk?tls-certificates=$1" >"$tmp/out" 2>&1
}

plan 9
truncate -s 32M "$tmp/disk"
serve_tls
ok "one connection" exercise
ok "three connections, long requests" exercise --connections=3 --requests=300 --longest=512 --depth=16
ok "the key's place is not logged" bash -c "! grep -q keys '$tmp/out'"
ok "a wrong key does not connect" refused
ok "a killed server" survives

make_authority "$tmp/ca"
make_authority "$tmp/other"
make_certificates "$tmp/ca" "$tmp/server" server 'cn = "server"' 'ip_address = "127.0.0.1"' tls_www_server
stop server
start_server --listen 0.0.0.0:0 --export "disk=$tmp/disk" --tls-certificates "$tmp/server"
ok "a server with the certificate of our authority is trusted" trusts "$tmp/ca" 127.0.0.1
ok "one with another's is not" not trusts "$tmp/other" 127.0.0.1
ok "nor one with the certificate of another host" not trusts "$tmp/ca" 127.0.0.2
ok "and no request went there" bash -c "! grep '^after' '$tmp/out'"
