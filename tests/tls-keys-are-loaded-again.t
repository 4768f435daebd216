#!/bin/bash
# If this fails, an expired certificate or a leaked key means a restart that interrupts every disk, or stays in use.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/tls.sh"
needs nbdinfo nbdsh python3

# reload MESSAGE: SIGHUP, until the log has it once more.
reload()
{
	local before

	before=$(said server "$1")
	kill -HUP "${pid_of[server]}"
	wait_until $ready_s said_more "$1" "$before"
}

said_more()
{
	has_said server "$1" "$2"
}

gets_in()
{
	nbdinfo --size "$1" >/dev/null
}

kept_out()
{
	! nbdinfo --size "$1"
}

# A client that is there before everything changes: reads when told to.
connected()
{
	PATH=/usr/bin:$PATH start_ready there '^connected' nbdsh -c "
import os, sys, time
h.set_uri_allow_local_file(True)
h.connect_uri('$1')
print('connected', flush=True)
while True:
    while not os.path.exists('$tmp/read'):
        time.sleep(0.02)
    assert h.pread(100000, 0) == bytes(100000)
    os.remove('$tmp/read')
    print('read', flush=True)
"
}

reads()
{
	touch "$tmp/read"
	wait_until $ready_s test "$tmp" -a ! -e "$tmp/read"
}

plan 16
make_authority "$tmp/old"
make_authority "$tmp/new"
make_server_certificates "$tmp/old" "$tmp/server"
make_server_certificates "$tmp/new" "$tmp/next"
make_certificates "$tmp/old" "$tmp/client-old" client 'cn = "alice"' tls_www_client
make_certificates "$tmp/new" "$tmp/client-new" client 'cn = "alice"' tls_www_client
make_key "$tmp/keys" bob
make_key "$tmp/other" bob
cp "$tmp/keys" "$tmp/used"
truncate -s 1M "$tmp/disk"
start_server --listen "unix:$tmp/nbd" 127.0.0.1:0 --tls-certificates "$tmp/server" --tls-verify-peer --tls-psk "$tmp/used" \
	--export "=$tmp/disk"
tcp=127.0.0.1:$(server_port)
old="nbds://$tcp/?tls-certificates=$tmp/client-old" new="nbds://$tcp/?tls-certificates=$tmp/client-new"
key="nbds://bob@$tcp/?tls-psk-file=$tmp/keys" other="nbds://bob@$tcp/?tls-psk-file=$tmp/other"

connected "$old"
ok "the old certificate gets in" gets_in "$old"
ok "the new one does not" kept_out "$new"
ok "the old key gets in" gets_in "$key"

echo nonsense >"$tmp/server/server-cert.pem"
ok "what cannot be loaded is told" reload "error: signal HUP: keeps its certificates and keys: $tmp/server/server-cert.pem"
ok "and the old certificate still gets in" gets_in "$old"
cp "$tmp/next"/*.pem "$tmp/server/"
echo "bob" >"$tmp/used"
ok "a half-written file of keys as well" reload "keeps its certificates and keys: $tmp/used: line 1"
ok "and nothing has changed" gets_in "$old"

cp "$tmp/other" "$tmp/used"
ok "then all is loaded" reload "signal HUP: certificates and keys are loaded again"
ok "the new certificate gets in" gets_in "$new"
ok "the old one does not" kept_out "$old"
ok "the new key gets in" gets_in "$other"
ok "the old one does not" kept_out "$key"
ok "whoever was there still reads" reads

# Revoked: the certificate stays valid in itself.
printf '%s\n' 'crl_next_update = 10' 'crl_number = 1' >"$tmp/template"
certtool --generate-crl --load-ca-privkey "$tmp/new/ca-key.pem" --load-ca-certificate "$tmp/new/ca-cert.pem" \
	--load-certificate "$tmp/client-new/client-cert.pem" --template "$tmp/template" --outfile "$tmp/server/ca-crl.pem" \
	2>>"$tmp/certtool"
ok "a list of revoked ones is loaded" reload "signal HUP: certificates and keys are loaded again"
ok "and the revoked one does not get in" kept_out "$new"
stop there KILL
ok "the server ends cleanly" stop server
