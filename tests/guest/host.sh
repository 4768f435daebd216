# host.sh -- the host's side of a test with a guest; after peers.sh.

image=${VNBD_GUEST:-$top/build/guest}

needs qemu-system-x86_64 setpriv
[ -e "$image/initramfs.img" ] || skip_all "no guest in $image: make guest"

# guest_start JOB ARGUMENT...: boots it in the background; what the job prints is in $tmp/guest.log.  JOB is the name of
# one of guest/jobs, or the path of a script.
guest_start()
{
	rm -f "$tmp/guest.log"
	case $1 in
	*/*) ;;
	*) set -- "$tests/guest/jobs/$1" "${@:2}" ;;
	esac
	start guest env TMPDIR="$tmp" "$tests/guest/run-guest" --image "$image" --script "$1" "${@:2}"
}

# guest_end: waits for the guest and returns the job's status.  run-guest has the time limit.
guest_end()
{
	local pid=${pid_of[guest]} status

	wait "$pid"
	status=$?
	unset 'pid_of[guest]'
	[ $status -eq 0 ] || tail -n 100 "$tmp/guest.log"
	return $status
}

# guest JOB ARGUMENT...: from start to end.
guest()
{
	guest_start "$@"
	guest_end
}

# guest_says TEXT SECONDS: waits for the line MARK TEXT.
guest_says()
{
	wait_until "$2" guest_said_or_gone "$1"
	guest_said "$1"
}

guest_said()
{
	has_said guest "^MARK $1\$"
}

guest_said_or_gone()
{
	guest_said "$1" || gone guest
}

# tell_guest URI TOLD_AT: what told() in the guest waits for.
tell_guest()
{
	qemu-io -f raw "$1" -c "write -P 0x6d $2 4096"
}

# guest_result NAME: the value that the job printed.
guest_result()
{
	sed -n "s/^RESULT $1 //p" "$tmp/guest.log"
}

sha512_of()
{
	sha512sum "$1" | cut -d' ' -f1
}

# The content that a job's write_content writes.
content_sha512()
{
	seq 1 50000 | sha512sum | cut -d' ' -f1
}

# part FILE OFFSET_MIB SIZE_MIB: copies a partition out, to $tmp/part.
part()
{
	dd if="$1" of="$tmp/part" bs=1M skip="$2" count="$3" conv=sparse 2>/dev/null
}

ext4_content_sha512()
{
	debugfs -R 'cat /content' "$1" 2>/dev/null | sha512sum | cut -d' ' -f1
}

allocated_mib()
{
	echo $(($(stat -c %b "$1") / 2048))
}
