#!/bin/sh
# A test that drives a disk's faults from a shell: does a program that copies a disk notice a bad sector, a lost connection, a
# disk that is full?  Here the program is nbdcopy; put your own in its place.
#
#	sh with-a-shell.sh	# vnbd-server, vnbdctl, nbdcopy and qemu-io in PATH
set -eu

folder=$(mktemp -d)
trap 'kill $server 2>/dev/null || :; wait; rm -rf "$folder"' EXIT
VNBD_CONTROL=$folder/control # where vnbdctl finds the server
export VNBD_CONTROL
disk="nbd+unix:///disk?socket=$folder/nbd"

head -c 16M /dev/urandom >"$folder/image"
vnbd-server --listen "unix:$folder/nbd" --control "unix:$VNBD_CONTROL" --export "disk=$folder/image" 2>"$folder/log" &
server=$!
until grep -q '^vnbd-server: listening on ' "$folder/log"; do
	kill -0 $server
	sleep 0.1
done

# fails COMMAND...: it has to, and says why.
fails()
{
	if "$@" >"$folder/said" 2>&1; then
		echo "did not fail: $*" >&2
		exit 1
	fi
	sed 's/^/  as it should: /' "$folder/said"
}

echo "A bad sector:"
vnbdctl fault add disk 'read 5M-5M+512: error EIO' >/dev/null 2>&1 && exit 1 # not a range: the rule is refused
vnbdctl fault add disk 'read 5M+512: error EIO' >/dev/null
fails nbdcopy "$disk" "$folder/copy"
vnbdctl fault clear >/dev/null

echo "A connection lost within a reply, one time of a hundred:"
vnbdctl fault add disk 'read p 0.01 seed 1: close amid' >/dev/null
fails nbdcopy --request-size=4096 "$disk" "$folder/copy"
vnbdctl fault clear >/dev/null

echo "No space left after 8 MiB:"
vnbdctl fault add disk 'write: full 8M' >/dev/null
fails qemu-io -f raw -c 'write 0 8M' -c 'write 8M 64k' "$disk"
vnbdctl fault list
vnbdctl fault clear >/dev/null

echo "And without faults:"
nbdcopy "$disk" "$folder/copy"
cmp "$folder/image" "$folder/copy"
echo "  copied"
