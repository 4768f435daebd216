#!/bin/bash
# Every row of tests/conformance, against files, a folder's file, memory, an export without a page cache, and through TLS.
# If this fails, some client that keeps to the specification gets from vnbd-server what it does not expect.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/tls.sh"
needs python3

# What a row may be skipped for: it speaks of what the server does not do differently, or of another kind of connection.
excuses='NO_ZEROES is offered|it is offered|the minimum is one byte|the connection is (not )?TLS|TLS is not required'
excuses+='|TLS needs fixed newstyle|nothing is negotiated before TLS'

# conforms URI [OPTION...]: at least 350 rows pass, none fails, and none is skipped without one of the excuses.
conforms()
{
	local rows="$tmp/rows"

	if ! "$tests/conformance/run" --read-only "${1/disk/fixed}" "${@:2}" "$1" >"$rows"; then
		grep -A 1 '^not ok' "$rows"
		return 1
	fi
	if grep '# SKIP' "$rows" | grep -vE "# SKIP ($excuses)$"; then
		echo "that is offered"
		return 1
	fi
	[ "$(grep -v '# SKIP' "$rows" | grep -c '^ok')" -ge 350 ]
}

plan 8
mkdir "$tmp/folder"
truncate -s 64M "$tmp/file" "$tmp/folder/folder-disk" "$tmp/direct" "$tmp/tls"
make_authority "$tmp/ca"
make_server_certificates "$tmp/ca" "$tmp/certificates"
make_certificates "$tmp/ca" "$tmp/client" client 'cn = "alice"' tls_www_client
start_server --listen "unix:$tmp/nbd" \
	--export "disk=$tmp/file,description=a disk" --export "fixed=$tmp/file,readonly" \
	--export "direct-disk=$tmp/direct,cache=none,description=a disk" --export "direct-fixed=$tmp/direct,readonly" \
	--export-dir "$tmp/folder,description=a disk" --export "folder-fixed=$tmp/file,readonly" \
	--export "memory-disk=memory:64M,description=a disk" --export "memory-fixed=$tmp/file,readonly"

ok "a file" conforms "nbd+unix:///disk?socket=$tmp/nbd"
ok "a file of a folder" conforms "nbd+unix:///folder-disk?socket=$tmp/nbd"
ok "a file without the page cache" conforms "nbd+unix:///direct-disk?socket=$tmp/nbd"
ok "memory" conforms "nbd+unix:///memory-disk?socket=$tmp/nbd"
ok "the server ends cleanly" stop server

start_server --listen 127.0.0.1:0 --tls-certificates "$tmp/certificates" --tls-verify-peer \
	--export "disk=$tmp/tls,description=a disk" --export "fixed=$tmp/tls,readonly"
ok "a server that requires TLS" conforms "nbds://127.0.0.1:$(server_port)/disk?tls-certificates=$tmp/client"
stop server
start_server --listen 127.0.0.1:0 --tls on --tls-certificates "$tmp/certificates" \
	--export "disk=$tmp/tls,description=a disk" --export "fixed=$tmp/tls,readonly"
ok "a server that offers it" conforms "nbds://127.0.0.1:$(server_port)/disk?tls-certificates=$tmp/client"
ok "the server that offers TLS ends cleanly" stop server
