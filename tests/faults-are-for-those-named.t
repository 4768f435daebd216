#!/bin/bash
# A rule that names a client's key, certificate or address is for that client and no other.
# If this fails, a fault meant for one client of a shared disk breaks the others, or nobody.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/tls.sh"
needs nbdsh certtool

# suffers URI-OF-NAME: the exports of which it cannot read.
suffers()
{
	PATH=/usr/bin:$PATH nbdsh -c "uri, exports = '$1', '${names[*]}'.split()" -c '
for name in exports:
    handle = nbd.NBD()
    handle.set_uri_allow_local_file(True)
    handle.connect_uri(uri.replace("NAME", name))
    try:
        handle.pread(512, 0)
    except nbd.Error:
        print(name, end=" ")
' | sed 's/ $//'
}

make_authority "$tmp/ca"
make_server_certificates "$tmp/ca" "$tmp/server"
make_certificates "$tmp/ca" "$tmp/alice" client 'cn = "alice"' 'organization = "Example: one"' tls_www_client
make_certificates "$tmp/ca" "$tmp/host" client 'cn = "host1"' 'dns_name = "host1.example"' tls_www_client
make_key "$tmp/keys" alice
make_key "$tmp/keys" bob
subject=$(certtool --certificate-info --infile "$tmp/alice/client-cert.pem" | sed -n 's/^\tSubject: //p')
names=()
exports=()
while read -r name who; do
	names+=("$name")
	exports+=(--export "$name=memory:1M,fault=read $who: error EIO")
done <<END
key psk alice
either psk alice psk bob
certificate cert alice
alternative cert host1.example
subject subject "${subject//,/,,}"
address from 127.0.0.1
both from 127.0.0.1 psk bob
elsewhere from 192.0.2.0/24 psk bob
END
plan 7
start_server --listen "unix:$tmp/nbd" 127.0.0.1:0 --tls on --tls-certificates "$tmp/server" --tls-verify-peer \
	--tls-psk "$tmp/keys" "${exports[@]}"
tcp=127.0.0.1:$(server_port)

same "without TLS: by the address" "address" "$(suffers "nbd://$tcp/NAME")"
same "on the Unix socket: by nothing" "none" "$(suffers "nbd+unix:///NAME?socket=$tmp/nbd")none"
same "alice with her key" "key either address" "$(suffers "nbds://alice@$tcp/NAME?tls-psk-file=$tmp/keys")"
same "bob with his" "either address both" "$(suffers "nbds://bob@$tcp/NAME?tls-psk-file=$tmp/keys")"
same "alice with her certificate" "certificate subject address" \
	"$(suffers "nbds://$tcp/NAME?tls-certificates=$tmp/alice")"
same "a host with its certificate" "alternative address" "$(suffers "nbds://$tcp/NAME?tls-certificates=$tmp/host")"
ok "the server ends cleanly" stop server
