#!/bin/bash
# Two servers, or a server and qemu, do not write one file at the same time, and the second is told who is in its way.
# If this fails, a mistyped export or a failover that is too early destroys the disk that another guest is using.
. "$(dirname "$0")/peers.sh"
needs qemu-img qemu-io qemu-nbd

disk=$tmp/disk
said_error()
{
	printf '%s\n' "$1" | tee "$tmp/error" && [ "$(grep -c '^vnbd-server: error: ' "$tmp/error")" = 1 ] &&
		grep -qE "$2" "$tmp/error"
}

# refused PATTERN EXPORT...: a second server ends at once with status 1 and one error.
refused()
{
	local pattern=$1 said status

	shift
	said=$(timeout 10 "$build/vnbd-server" --listen "unix:$tmp/second" "$@" 2>&1 </dev/null)
	status=$?
	[ $status = 1 ] && said_error "$said" "$pattern"
}

# serve EXPORT...: as "server", alone.
serve()
{
	start_server --listen "unix:$tmp/nbd" "$@"
}

qemu_cannot_write()
{
	! qemu-io -f raw "$disk" -c 'write 0 4k' >"$tmp/qemu" 2>&1 && grep 'Failed to get "write" lock' "$tmp/qemu"
}

# While operations of a killed server are in the kernel, its locks hold; then they are gone.
killed_leaves_no_lock()
{
	local i

	for i in 1 2 3 4 5; do
		stop server KILL
		serve --export "a=$disk,cache=$1" || return 1
		qemu-io -f raw "$uri" -c 'aio_write -P 1 0 1M' -c 'aio_write -P 2 1M 1M' -c aio_flush >/dev/null || return 1
		start "load-$1-$i" qemu-io -t none -f raw "$uri" -c 'aio_write 0 2M' -c 'aio_write 0 2M' -c 'aio_write 0 2M' -c 'sleep 5000'
	done
}

plan 17
truncate -s 4M "$disk"
uri="nbd+unix:///a?socket=$tmp/nbd"

serve --export "a=$disk"
holder="in use: vnbd-server \(pid ${pid_of[server]}\) writes it"
ok "a second writer is refused" refused "^vnbd-server: error: export 'b': $disk: $holder\$" --export "b=$disk"
ok "by another name of the file, too" bash -c "ln '$disk' '$tmp/link'"
ok "... as well" refused "$holder" --export "b=$tmp/link,cache=none"
ok "so is a reader" refused "$holder" --export "b=$disk,readonly"
ok "qemu cannot write it" qemu_cannot_write
ok "the first goes on" qemu-io -f raw "$uri" -c 'write 0 4k'
ok "a killed writer leaves no lock" killed_leaves_no_lock writeback
ok "nor one with O_DIRECT" killed_leaves_no_lock none
stop server

serve --export "a=$disk,readonly"
ok "qemu reads beside a reader" qemu-io -r -f raw "$disk" -c 'read 0 4k'
ok "qemu cannot write beside a reader" qemu_cannot_write
ok "a writer is refused beside a reader" refused \
	"in use: vnbd-server \(pid ${pid_of[server]}\) reads it and bears no other writer" --export "b=$disk"
start_ready second 'listening on' "$build/vnbd-server" --listen "unix:$tmp/second" --export "b=$disk,readonly"
ok "two servers read one file" stop second
stop server

start_ready second 'listening on' "$build/vnbd-server" --listen "unix:$tmp/second" --export "r=$disk,readonly" \
	--export "w=$disk" --export "r2=$disk,readonly"
ok "one server reads what it writes" stop second
start_ready second 'listening on' "$build/vnbd-server" --listen "unix:$tmp/second" --export "a=$disk" \
	--export "b=$disk,cache=none"
ok "and may write it twice, with a warning" grep -q 'more than one export of this server writes it' "$tmp/second.log"
ok "what it writes twice no other server writes" refused "in use: vnbd-server .pid ${pid_of[second]}. writes it" \
	--export "a=$disk"
stop second

start qemu qemu-nbd -f raw -t -k "$tmp/qemu.sock" "$disk"
wait_until $ready_s test -S "$tmp/qemu.sock"
ok "what qemu writes is refused" refused "in use: qemu-nbd \(pid ${pid_of[qemu]}\) writes it" --export "a=$disk"
stop qemu
serve --export "a=$disk"
ok "and free when qemu has ended" stop server
