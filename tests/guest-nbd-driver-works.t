#!/bin/bash
# The Linux nbd driver in a guest uses vnbd-server over TCP, with 1 and with 4 connections, blocks of 512 and 4096 bytes,
# and through the TLS of nbd-client.
# If this fails, a host that mounts an export with Debian's nbd-client loses data, trims or speed.
. "$(dirname "$0")/peers.sh"
. "$tests/guest/host.sh"
. "$tests/tls.sh"
needs e2fsck debugfs

# check_storage WORDS EXPORT
check_storage()
{
	same "$1: every byte is what the guest read" "$(guest_result "$2-disk-sha512")" "$(sha512_of "$tmp/$2")"
	ok "$1: ext4 is clean" e2fsck -fn "$tmp/$2"
	same "$1: ext4's file has the content" "$(content_sha512)" "$(ext4_content_sha512 "$tmp/$2")"
	ok "$1: trims freed space" [ "$(allocated_mib "$tmp/$2")" -lt 20 ]
}

plan 15
make_authority "$tmp/ca"
make_server_certificates "$tmp/ca" "$tmp/server"
make_certificates "$tmp/ca" "$tmp/client" client 'cn = "guest"' tls_www_client
for export in one four tls; do
	fallocate -l 32M "$tmp/$export"
done
# A port each: the guest counts the connections to it.
start_server --listen 127.0.0.1:0 127.0.0.1:0 --export "one=$tmp/one" --export "four=$tmp/four"
mapfile -t ports < <(server_uris | sed 's|.*:\([0-9]*\)/*$|\1|')
pid_of[plain]=${pid_of[server]}
start_server --listen 127.0.0.1:0 --export "tls=$tmp/tls" --tls-certificates "$tmp/server" --tls-verify-peer
ok "the guest discards, writes, verifies and trims" guest nbd --timeout 300 --net \
	--env KINDS="one:${ports[0]}:1:512:plain four:${ports[1]}:4:4096:plain tls:$(server_port):1:4096:tls" \
	--env CERTIFICATE="$(cat "$tmp/client/client-cert.pem")" --env KEY="$(cat "$tmp/client/client-key.pem")" \
	--env AUTHORITY="$(cat "$tmp/ca/ca-cert.pem")"
ok "the server ends cleanly" stop plain
ok "the server with TLS ends cleanly" stop server
check_storage "1 connection, 512 byte blocks" one
check_storage "4 connections, 4096 byte blocks" four
check_storage "TLS, 1 connection, 4096 byte blocks" tls
