#!/bin/bash
# The Linux nbd driver in a guest uses vnbd-server over TCP, with 1 and with 4 connections, blocks of 512 and 4096 bytes,
# and through the TLS of nbd-client.
# If this fails, a host that mounts an export with Debian's nbd-client loses data, trims or speed.
. "$(dirname "$0")/peers.sh"
. "$tests/guest/host.sh"
. "$tests/tls.sh"
needs e2fsck debugfs

# guest_with WORD CONNECTIONS BLOCK-SIZE [--tls]
guest_with()
{
	local with="$1$2 connections, $3 byte blocks" server=() job=()

	if [ "${4:-}" = --tls ]; then
		server=(--tls-certificates "$tmp/server" --tls-verify-peer)
		job=(--env CERTIFICATE="$(cat "$tmp/client/client-cert.pem")" --env KEY="$(cat "$tmp/client/client-key.pem")"
			--env AUTHORITY="$(cat "$tmp/ca/ca-cert.pem")")
	fi
	rm -f "$tmp/disk"
	fallocate -l 64M "$tmp/disk"
	start_server --listen 127.0.0.1:0 --export "vm=$tmp/disk" "${server[@]}"
	ok "$with: the guest discards, writes, verifies and trims" guest nbd --timeout 100 --net "${job[@]}" \
		--env PORT="$(server_port)" --env EXPORT=vm --env CONNECTIONS="$2" --env BLOCK_SIZE="$3"
	ok "$with: the server ends cleanly" stop server
	same "$with: every byte is what the guest read" "$(guest_result disk-sha512)" "$(sha512_of "$tmp/disk")"
	ok "$with: ext4 is clean" e2fsck -fn "$tmp/disk"
	same "$with: ext4's file has the content" "$(content_sha512)" "$(ext4_content_sha512 "$tmp/disk")"
	ok "$with: trims freed space" [ "$(allocated_mib "$tmp/disk")" -lt 40 ]
}

plan 18
make_authority "$tmp/ca"
make_server_certificates "$tmp/ca" "$tmp/server"
make_certificates "$tmp/ca" "$tmp/client" client 'cn = "guest"' tls_www_client
guest_with "" 1 512
guest_with "" 4 4096
guest_with "TLS, " 1 4096 --tls
