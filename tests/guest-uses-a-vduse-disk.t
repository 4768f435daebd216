#!/bin/bash
# A Linux host without any virtual machine (here: a guest with Debian 13's kernel, which has VDUSE) attaches an export as a
# disk of its own with vnbd-client --vduse, through kills of the client, and one that is restarted, below a mounted file
# system. Before that a driver in user space (vhost-vdpa) has its memory come and go. VNBD_KILLS: how often.
# If this fails, a bare host's files are not what it wrote, or its disk does not come back.
. "$(dirname "$0")/peers.sh"
VNBD_GUEST=${VNBD_GUEST_NEXT:-$top/build/guest-trixie}
[ ! -e "$VNBD_GUEST/missing" ] || skip_all "$(cat "$VNBD_GUEST/missing")"
. "$tests/guest/host.sh"
needs e2fsck debugfs nbdkit python3

# nbdkit has no way to choose a port and to say which: it gets a socket that listens.
start_nbdkit()
{
	start_ready nbdkit '^port ' python3 -c '
import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print("port", listener.getsockname()[1], flush=True)
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execvp(sys.argv[1], sys.argv[1:])' nbdkit --foreground --filter=log "$@"
}

nbdkit_port()
{
	sed -n 's/^port //p' "$tmp/nbdkit.log"
}

# cmpxchg16b, on which this kernel's allocator relies where it finds it, at times spoils the flags in QEMU 7.2's emulation.
cpu=max,erms=off,fsrm=off,cx16=off

kills=${VNBD_KILLS:-3}

plan 8
fallocate -l 32M "$tmp/disk"
start_server --listen 127.0.0.1:0 --export "vm=$tmp/disk"
start_nbdkit memory 1M logfile="$tmp/asked"
guest_start vduse --timeout $((kills * 10 + 240)) --net --program "$build/vnbd-client" --program "$build/tests/vdpa-driver" \
	--env "URI=nbd://10.0.2.2:$(server_port)/vm" \
	--env "LOGGED_URI=nbd://10.0.2.2:$(nbdkit_port)/" --env KILLS="$kills" --env GROWN_SECTORS=$((40 * 2048)) -- -cpu "$cpu"
ok "a host attaches, writes, survives kills and a restart of the client, verifies, detaches" guest_says grow $((kills * 10 + 230))
same "the client died $kills times below verified writes" "$kills" "$(guest_result kills-survived)"
same "every byte is what the host read" "$(guest_result disk-sha512)" "$(sha512_of "$tmp/disk")"
ok "ext4 is clean" e2fsck -fn "$tmp/disk"
same "ext4's file has the content" "$(content_sha512)" "$(ext4_content_sha512 "$tmp/disk")"
truncate -s 40M "$tmp/disk"
ok "the disk is read-only if wanted, grows, and stays while it is open" guest_end
ok "the server ends cleanly" stop server
ok "fsync reaches the server as a flush" grep -q ' Flush ' "$tmp/asked"
