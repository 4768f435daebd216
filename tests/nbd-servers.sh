# nbd-servers.sh -- NBD servers of all makers, on a Unix socket, to be sourced after peers.sh.
#
#	serve nbdkit [FILTER...]	# or qemu-nbd, nbd-server, vnbd-server
#	kill_server; serve nbdkit	# as if its machine's power had come back, but for the page cache
#
# They export $tmp/disk as "disk"; $uri says where.

# with_libnbd COMMAND...: what of it connects leaves transmission to libnbd, as with TLS.
with_libnbd()
{
	VNBD_ENGINE=libnbd "$@"
}

uri="nbd+unix:///disk?socket=$tmp/nbd"

is_served()
{
	nbdinfo --size "$uri" >/dev/null 2>&1
}

# serve KIND ARGUMENT...: until it answers.
serve()
{
	local kind=$1

	shift
	rm -f "$tmp/nbd"
	"serve_${kind//-/_}" "$@"
	wait_until $ready_s is_served || {
		tests_failed=$((tests_failed + 1))
		echo "not ok $((tests_run + 1)) - $kind answers"
		exit 1
	}
}

# serve_nbdkit [OPTION... --] [PARAMETER...]: parameters of filters follow the file's.
serve_nbdkit()
{
	local options=()

	while [ "${1:---}" != -- ]; do
		options+=("$1")
		shift
	done
	start server nbdkit --foreground --unix "$tmp/nbd" --threads 16 "${options[@]}" file "$tmp/disk" "${@:2}"
}

serve_qemu_nbd()
{
	start server qemu-nbd --persistent --shared=0 --format=raw --discard=unmap --export-name=disk \
		--socket="$tmp/nbd" "$@" "$tmp/disk"
}

# nbd-server has a process for each connection and goes into the background: in a PID namespace of its own, all of it
# ends with the namespace's first process.
serve_nbd_server()
{
	local user=(--user --map-root-user)

	[ "$(id -u)" -ne 0 ] || user=()
	cat >"$tmp/nbd-server.conf" <<-EOF
		[generic]
		unixsock = $tmp/nbd
		allowlist = true
		[disk]
		exportname = $tmp/disk
		flush = true
		fua = true
		trim = true
	EOF
	start server unshare "${user[@]}" --pid --fork --kill-child \
		sh -c 'nbd-server -C "$1" && exec sleep infinity' sh "$tmp/nbd-server.conf"
}

serve_vnbd_server()
{
	start server "$build/vnbd-server" --listen "unix:$tmp/nbd" --export "disk=$tmp/disk" "$@"
}

kill_server()
{
	stop server KILL
}
