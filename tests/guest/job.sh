# job.sh -- what a job in the guest may use.  Read before it by the same shell, sh -eu with pipefail.

# mark TEXT...: a line for the host to act on.
mark()
{
	echo "MARK $*"
}

# result NAME VALUE: what the host compares with its own side.
result()
{
	[ -n "$2" ] || fail "no $1"
	echo "RESULT $1 $2"
}

fail()
{
	echo "FAIL $*"
	exit 1
}

# step TEXT...: what happens next, with the seconds since the guest booted.
step()
{
	echo "$(cut -d' ' -f1 /proc/uptime) $*"
}

# expect WHAT EXPECTED ACTUAL
expect()
{
	[ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"
}

# quietly COMMAND...: its output is of interest only if it fails.
quietly()
{
	"$@" >/tmp/output 2>&1 || {
		cat /tmp/output
		fail "$*"
	}
}

# told: whether the host has written an "m" at byte TOLD_AT of /dev/vda, where no file system may be.
told()
{
	[ "$(dd if=/dev/vda bs=4k skip=$((TOLD_AT / 4096)) count=1 iflag=direct 2>/dev/null | head -c 1)" = m ]
}

# format FILESYSTEM DEVICE [KIB]; ext4's tables are written at once, so that nothing goes on behind the job's back; xfs may be
# smaller than 300 MiB, which mkfs.xfs calls unsupported.
format()
{
	case $1 in
	ext4) quietly mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$2" ${3:+"$3"} ;;
	xfs) quietly mkfs.xfs -q -f --unsupported "$2" ;;
	esac
}

check_filesystem()
{
	case $1 in
	ext4) quietly e2fsck -fn "$2" ;;
	xfs) quietly xfs_repair -n "$2" ;;
	esac
}

# fio_phase write|verify NAME FIO-OPTION...: the second run of the same options reads back what the first one wrote.
fio_phase()
{
	local phase=$1 name=$2

	shift 2
	case $phase in
	write) set -- --do_verify=0 "$@" ;;
	verify) set -- --verify_only "$@" ;;
	esac
	quietly fio --name="$name" --verify=crc32c --verify_fatal=1 --thread "$@"
}

drop_caches()
{
	sync
	echo 3 >/proc/sys/vm/drop_caches
}

# The content that host and guest both know: 300 KB of numbers.
content()
{
	seq 1 50000
}

write_content()
{
	content | quietly dd of="$1" bs=64k conv=fsync
}

# sha512: of the strong sums the quickest on an emulated 64-bit processor.
sha512_of()
{
	sha512sum "$1" | cut -d' ' -f1
}

# disk_sha512 DEVICE: of what the device holds: of the guest's page cache nothing is left.  (Through a pipe from dd it would
# take twice as long.)
disk_sha512()
{
	drop_caches
	sha512_of "$1"
}

# expect_no_io_errors: the kernel has logged no failed request, stuck task or damaged file system.
expect_no_io_errors()
{
	! dmesg | grep -iE 'I/O error|blk_update_request|timed out|hung_task|blocked for more|EXT4-fs (error|warning)|XFS.*(error|corrupt)' ||
		fail "the kernel complained"
}
