# tls.sh -- certificates and keys for the tests of TLS; after peers.sh.
#
#	make_authority "$tmp/ca"
#	make_certificates "$tmp/ca" "$tmp/server" server 'cn = "server"' 'ip_address = "127.0.0.1"' tls_www_server

needs certtool psktool

# make_authority DIR: ca-cert.pem and ca-key.pem.
make_authority()
{
	mkdir -p "$1"
	certtool --generate-privkey --key-type=ecdsa --outfile "$1/ca-key.pem" 2>>"$tmp/certtool"
	printf '%s\n' 'cn = "Test authority"' ca cert_signing_key crl_signing_key 'expiration_days = 10' >"$1/template"
	certtool --generate-self-signed --load-privkey "$1/ca-key.pem" --template "$1/template" \
		--outfile "$1/ca-cert.pem" 2>>"$tmp/certtool"
}

# make_certificates AUTHORITY DIR ROLE LINE...: ca-cert.pem, ROLE-cert.pem and ROLE-key.pem, as certtool's template LINEs say.
make_certificates()
{
	local authority=$1 dir=$2 role=$3

	mkdir -p "$dir"
	cp "$authority/ca-cert.pem" "$dir/"
	printf '%s\n' signing_key 'expiration_days = 10' "${@:4}" >"$dir/template"
	certtool --generate-privkey --key-type=ecdsa --outfile "$dir/$role-key.pem" 2>>"$tmp/certtool"
	certtool --generate-certificate --load-ca-certificate "$authority/ca-cert.pem" \
		--load-ca-privkey "$authority/ca-key.pem" --load-privkey "$dir/$role-key.pem" --template "$dir/template" \
		--outfile "$dir/$role-cert.pem" 2>>"$tmp/certtool"
}

# make_server_certificates AUTHORITY DIR: for 127.0.0.1 and localhost.
make_server_certificates()
{
	make_certificates "$1" "$2" server 'cn = "localhost"' 'dns_name = "localhost"' 'ip_address = "127.0.0.1"' \
		tls_www_server
}

# make_key FILE USER: adds the user to the file, with a key of its own.
make_key()
{
	psktool -u "$2" -p "$1" >/dev/null 2>&1
}
