#!/bin/bash
# Each cache mode asks the kernel for exactly what it promises: open flags, RWF flags of writes, fdatasync for flushes;
# on a file and on a block device. Seen from outside, by the kernel's own trace of system calls and io_uring entries.
# If this fails, an operator who chose a mode for its durability does not get it, or pays for one he did not choose.
. "$(dirname "$0")/peers.sh"
needs bpftrace nbdsh losetup unshare
[ "$(id -u)" -eq 0 ] || skip_all "only root may trace the kernel"
[ -r /sys/kernel/btf/vmlinux ] || skip_all "the kernel has no BTF to read io_uring's requests by"

modes="writeback writethrough none directsync unsafe"

# Runs a command where tracefs is mounted, and leaves the machine's mounts as they are.
with_tracefs=(unshare --mount sh -c '[ -d /sys/kernel/tracing/events ] || mount -t tracefs nodev /sys/kernel/tracing
	exec "$@"' sh)

submission=$("${with_tracefs[@]}" sh -c 'cd /sys/kernel/tracing/events/io_uring && ls -d io_uring_submit_re[q] ||
	ls -d io_uring_submit_sq[e]' 2>/dev/null) || skip_all "the kernel does not let us trace io_uring"

devices=()
detach()
{
	local status=$?

	[ ${#devices[@]} -eq 0 ] || losetup -d "${devices[@]}"
	(exit $status)
	finish
}
trap detach EXIT

# Lines: TIME uring FD OPCODE FLAGS POSITION, or TIME call FD 0 FLAGS POSITION; FLAGS are RWF_*, or those of fsync.
write_tracer()
{
	cat <<EOS
BEGIN { printf("tracing\n"); }
tracepoint:io_uring:$submission /pid == $1/ {
	\$req = (struct io_kiocb *)args->req;
	\$rw = (struct io_rw *)\$req;
	\$flags = (uint64)\$rw->flags;
	if (args->opcode == 3) {
		\$flags = (uint64)((struct io_sync *)\$req)->flags;
	}
	printf("%llu uring %d %d %d %lld\n", nsecs, \$req->cqe.fd, args->opcode, \$flags, \$rw->kiocb.ki_pos);
}
tracepoint:syscalls:sys_enter_pwritev2 /pid == $1/ {
	@fd[tid] = args->fd; @flags[tid] = args->flags; @pos[tid] = args->pos_l;
}
tracepoint:syscalls:sys_exit_pwritev2 /pid == $1 && args->ret > 0/ {
	printf("%llu call %d 0 %d %lld\n", nsecs, @fd[tid], @flags[tid], @pos[tid]);
}
tracepoint:syscalls:sys_enter_fsync, tracepoint:syscalls:sys_enter_fdatasync,
tracepoint:syscalls:sys_enter_pwrite64, tracepoint:syscalls:sys_enter_fallocate /pid == $1/ {
	printf("%llu unexpected 0 0 0 0\n", nsecs);
}
// Of bytes that no file has, it is cache/witness.h's question.
tracepoint:syscalls:sys_enter_sync_file_range /pid == $1 && args->offset < 1 << 62/ {
	printf("%llu unexpected 0 0 0 0\n", nsecs);
}
END { clear(@fd); clear(@flags); clear(@pos); }
EOS
}

# descriptors PATH: those of the server, a line each: FD direct|cached.
descriptors()
{
	local fd

	for fd in "/proc/${pid_of[server]}/fd"/*; do
		[ "$(readlink "$fd")" = "$1" ] || continue
		fd=${fd##*/}
		# O_DIRECT is 040000 where this runs.
		if (($(sed -n 's/^flags:\t//p' "/proc/${pid_of[server]}/fdinfo/$fd") & 040000)); then
			echo "$fd direct"
		else
			echo "$fd cached"
		fi
	done
}

# seen PATH: what the kernel was asked for on that file or device, in order, in words.
seen()
{
	awk 'FNR == NR { manner[$1] = $2; next }
		$2 == "unexpected" { print $2 }
		$3 in manner && $2 == "call" { print manner[$3], "write", $6 / 4096, ($5 % 4 >= 2 ? "dsync" : "plain") }
		$3 in manner && $2 == "uring" {
			if ($4 == 2 || $4 == 23)
				print manner[$3], "write", $6 / 4096, ($5 == 2 ? "dsync" : $5 == 0 ? "plain" : $5)
			else if ($4 == 3)
				print manner[$3], ($5 == 1 ? "fdatasync" : "fsync")
			else if ($4 == 17)
				print manner[$3], "fallocate"
			else
				print manner[$3], "operation", $4
		}' <(descriptors "$1") "$tmp/trace" | paste -sd ';'
}

# shared_description PATH: descriptors that see both RWF_DSYNC writes and fdatasyncs: an error would be lost between them.
shared_description()
{
	awk 'FNR == NR { ours[$1]; next }
		$3 in ours && $2 == "uring" && $4 == 3 { synced[$3] }
		$3 in ours && ($2 == "call" || $4 == 2 || $4 == 23) && $5 % 4 >= 2 { stable[$3] }
		END { for (fd in synced) if (fd in stable) print fd }' <(descriptors "$1") "$tmp/trace"
}

# The requests: a write, a FUA write, a flush, a zero with FUA, each waited for.
ask()
{
	# Debian's python3 has the module, whatever else is first in PATH.
	PATH=/usr/bin:$PATH nbdsh -u "nbd+unix:///$1?socket=$tmp/nbd" -c '
h.pwrite(b"w" * 4096, 4096 * 16)
h.pwrite(b"f" * 4096, 4096 * 17, nbd.CMD_FLAG_FUA)
h.flush()
h.zero(65536, 0, nbd.CMD_FLAG_FUA)
h.shutdown()'
}

declare -A expected=(
	[writeback]='cached write 16 plain;cached write 17 dsync;cached fdatasync;cached fallocate;cached fdatasync'
	[writethrough]='cached write 16 dsync;cached write 17 dsync;cached fallocate;cached fdatasync'
	[none]='direct write 16 plain;direct write 17 dsync;direct fdatasync;direct fallocate;direct fdatasync'
	[directsync]='direct write 16 dsync;direct write 17 dsync;direct fallocate;direct fdatasync'
	[unsafe]='cached write 16 plain;cached write 17 plain;cached fallocate'
)

declare -A path_of=()
exports=()
for mode in $modes; do
	truncate -s 16M "$tmp/$mode" "$tmp/backing-$mode"
	path_of[file-$mode]=$tmp/$mode
	if device=$(losetup -f --show "$tmp/backing-$mode" 2>"$tmp/losetup"); then
		devices+=("$device")
		path_of[device-$mode]=$device
	fi
done
for name in "${!path_of[@]}"; do
	exports+=(--export "$name=${path_of[$name]},cache=${name#*-}")
done

start_server --workers 1 --listen "unix:$tmp/nbd" "${exports[@]}"
write_tracer "${pid_of[server]}" >"$tmp/tracer.bt"
start tracer "${with_tracefs[@]}" bpftrace -B line "$tmp/tracer.bt"
tracing_or_gone()
{
	has_said tracer '^tracing$' || gone tracer
}
wait_until $ready_s tracing_or_gone
has_said tracer '^tracing$' || {
	note "$(tail -n 3 "$tmp/tracer.log")"
	skip_all "bpftrace cannot trace on this kernel"
}

# skip_here COUNT REASON: not in CI.
skip_here()
{
	[ -z "${CI:-}" ] || tests_failed=$((tests_failed + 1))
	for _ in $(seq "$1"); do
		tests_run=$((tests_run + 1))
		echo "${CI:+not }ok $tests_run # SKIP $2"
	done
}

plan 31
for kind in file device; do
	for mode in $modes; do
		if [ -z "${path_of[$kind-$mode]:-}" ]; then
			skip_here 1 "no loop device: $(cat "$tmp/losetup")"
		else
			ok "$mode, $kind: the requests succeed" ask "$kind-$mode"
		fi
	done
done

# What the tracer has not written yet it writes when it ends.
ok "the tracer ends" stop tracer INT
sort -n "$tmp/tracer.log" >"$tmp/trace"

for kind in file device; do
	for mode in $modes; do
		path=${path_of[$kind-$mode]:-}
		[ -n "$path" ] || {
			skip_here 2 "no loop device"
			continue
		}
		same "$mode, $kind: what reaches the kernel" "${expected[$mode]}" "$(seen "$path")"
		same "$mode, $kind: no description has both RWF_DSYNC writes and fdatasyncs" none \
			"$(shared_description "$path" | grep . || echo none)"
	done
done
