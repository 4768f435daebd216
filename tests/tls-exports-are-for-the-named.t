#!/bin/bash
# If this fails, a client reads, writes or hears of a disk that is somebody else's, or cannot get at its own.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/tls.sh"
needs nbdinfo nbdsh

# sees URI: the exports that are listed, in a line. (nbdinfo asks for each and leaves out what it does not get.)
sees()
{
	PATH=/usr/bin:$PATH nbdsh -c "uri = '$1'" -c '
h.set_opt_mode(True)
h.set_uri_allow_local_file(True)
h.connect_uri(uri)
names = []
h.opt_list(lambda name, description: names.append(name))
print(*sorted(names))
h.opt_abort()
'
}

# gets_in URI-OF-NAME NAME...: is served those of all exports, listed or not, and no other.
gets_in()
{
	local name got=()

	for name in "${all[@]}" nobody; do
		nbdinfo --size "${1/NAME/$name}" >/dev/null 2>>"$tmp/nbdinfo.log" && got+=("$name")
	done
	[ "${got[*]}" = "${*:2}" ] || {
		echo "gets ${got[*]}"
		return 1
	}
}

# both WHO URI-OF-NAME NAME...
both()
{
	same "$1 sees what is for it" "$(printf '%s\n' "${@:3}" | LC_ALL=C sort | xargs echo)" "$(sees "${2/NAME/}")"
	ok "$1 gets in there, and nowhere else" gets_in "${@:2}"
}

plan 21
make_authority "$tmp/ca"
make_server_certificates "$tmp/ca" "$tmp/server"
make_certificates "$tmp/ca" "$tmp/alice" client 'cn = "alice"' 'organization = "Example, Inc"' tls_www_client
make_certificates "$tmp/ca" "$tmp/host" client 'cn = "host1"' 'dns_name = "host1.example"' \
	'ip_address = "192.0.2.7"' tls_www_client
make_key "$tmp/keys" alice
make_key "$tmp/keys" bob
subject=$(certtool --certificate-info --infile "$tmp/alice/client-cert.pem" | sed -n 's/^\tSubject: //p')
# As certtool(1) shows it, with the commas of --export written twice.
doubled=${subject//,/,,}
truncate -s 1M "$tmp/disk"
all=()
exports=()
while read -r name rules; do
	all+=("$name")
	exports+=(--export "$name=$tmp/disk,readonly${rules:+,$rules}")
done <<END
open
tls tls
local allow-address=127.0.0.0/8
remote allow-address=192.0.2.0/24
socket allow-address=unix
cert-alice allow-cert=alice
subject allow-subject=$doubled
cert-dns allow-cert=host1.example
cert-ip allow-cert=192.0.2.7
psk-alice allow-psk=alice
psk-bob allow-psk=bob
two allow-psk=bob,allow-cert=host1
bob-local allow-psk=bob,allow-address=127.0.0.1
bob-remote allow-psk=bob,allow-address=192.0.2.1
END
mkdir "$tmp/folder"
truncate -s 1M "$tmp/folder/in-folder"
all+=(in-folder)
exports+=(--export-dir "$tmp/folder,readonly,allow-cert=alice,allow-psk=bob")
start_server --listen "unix:$tmp/nbd" 127.0.0.1:0 --tls on --tls-certificates "$tmp/server" --tls-verify-peer \
	--tls-psk "$tmp/keys" "${exports[@]}"
tcp=127.0.0.1:$(server_port)

both "a client without TLS" "nbd://$tcp/NAME" open local
both "one on the Unix socket" "nbd+unix:///NAME?socket=$tmp/nbd" open socket
both "alice with her certificate" "nbds://$tcp/NAME?tls-certificates=$tmp/alice" open tls local cert-alice subject in-folder
both "a host with its certificate" "nbds://$tcp/NAME?tls-certificates=$tmp/host" open tls local cert-dns cert-ip two
both "alice with her key" "nbds://alice@$tcp/NAME?tls-psk-file=$tmp/keys" open tls local psk-alice
both "bob with his key" "nbds://bob@$tcp/NAME?tls-psk-file=$tmp/keys" open tls local psk-bob two bob-local in-folder
both "bob on the Unix socket" "nbds+unix://bob@/NAME?socket=$tmp/nbd&tls-psk-file=$tmp/keys" open tls socket psk-bob two in-folder

sed 's/^alice:/mallory:/' "$tmp/keys" >"$tmp/mallory"
ok "an unknown user does not get in" bash -c "! nbdinfo 'nbds://mallory@$tcp/open?tls-psk-file=$tmp/mallory'"
sed -i 's/^alice:.../alice:fff/; s/^bob:.../bob:fff/' "$tmp/mallory"
ok "nor one with another key" bash -c "! nbdinfo 'nbds://bob@$tcp/open?tls-psk-file=$tmp/mallory'"
ok "nor one without a certificate" bash -c "mkdir $tmp/none; cp $tmp/ca/ca-cert.pem $tmp/none;
	! nbdinfo 'nbds://$tcp/open?tls-certificates=$tmp/none'"

refused()
{
	! timeout 10 "$build/vnbd-server" --listen "unix:$tmp/x" "${@:2}" >"$tmp/out" 2>&1 && cat "$tmp/out" &&
		grep -qF -- "$1" "$tmp/out"
}
cannot="nobody can use export 'a' unless"
truncate -s 1M "$tmp/another"
ok "a rule for keys without keys is refused" refused "$cannot there are pre-shared keys" --tls-certificates "$tmp/server" \
	--export "a=$tmp/another,allow-psk=x"
ok "a rule for certificates that nobody checks, too" refused "$cannot certificates of clients are verified" \
	--tls-certificates "$tmp/server" --export "a=$tmp/another,allow-cert=x"
ok "and an export for TLS without TLS" refused "$cannot there is TLS" --export "a=$tmp/another,tls"
ok "the server ends cleanly" stop server
