#!/bin/bash
# If this fails, a RAM disk loses or mixes up data while its server runs, or takes memory that clients gave back.
. "$(dirname "$0")/peers.sh"
needs qemu-io nbdcopy nbdinfo fio

resident_mib()
{
	echo $(($(sed -n 's/^VmRSS:\s*\([0-9]*\) kB/\1/p' "/proc/${pid_of[server]}/status") / 1024))
}

copies_both_ways()
{
	nbdcopy "$tmp/source" "$uri" && nbdcopy "$uri" "$tmp/back" && cmp -n $((64 << 20)) "$tmp/source" "$tmp/back"
}

io()
{
	qemu-io -f raw "$uri" "$@" >"$tmp/said" 2>&1 && ! grep -E 'failed|error' "$tmp/said" || { cat "$tmp/said"; false; }
}

fio_verifies()
{
	(cd "$tmp" && fio --name=v --ioengine=nbd --uri="$uri" --rw=randrw --bsrange=512-256k --bs_unaligned --size=60M \
		--io_size=60M --iodepth=32 --verify=crc32c --fsync=50 --verify_fatal=1)
}

plan 12
head -c 64M /dev/urandom >"$tmp/source"
start_server --listen "unix:$tmp/nbd" --export 'a=memory:64M,description=fast' --export 'big=memory:1T'
ok "the log says what it is" grep "export 'a' is 64.0 MiB of memory, which are lost when the server ends" "$tmp/server.log"
uri="nbd+unix:///a?socket=$tmp/nbd"
ok "nbdinfo finds fast zeroes" nbdinfo --can fast-zero "$uri"
same "and a hole" "0 67108864 3 hole,zero" "$(nbdinfo --map "$uri" | xargs)"
ok "it is empty" io -c 'read -P 0 0 64M'
ok "nbdcopy both ways" copies_both_ways
full=$(resident_mib)
ok "patterns" io -c 'write -P 1 0 1M' -c 'write -f -P 2 511 4099' -c 'write -z 8k 8k' -c 'write -z -u 100001 30000' \
	-c 'discard 200k 64k' -c flush -c 'read -P 1 0 511' -c 'read -P 2 511 4099' -c 'read -P 1 4610 3582' \
	-c 'read -P 0 8k 8k' -c 'read -P 1 16k 16k' -c 'read -P 1 100000 1' -c 'read -P 0 100001 30000' -c 'read -P 1 130001 9'
ok "fio with verification" fio_verifies
ok "past the end is past the end" bash -c "! qemu-io -f raw '$uri' -c 'write 64M 1k'"
ok "what is trimmed is given back" io -c 'discard 0 64M' -c 'read -P 0 0 1M'
same "and a hole again" "0 67108864 3 hole,zero" "$(nbdinfo --map "$uri" | xargs)"
ok "really" [ "$(resident_mib)" -lt $((full - 50)) ]
uri="nbd+unix:///big?socket=$tmp/nbd"
ok "a terabyte costs what is written" io -c 'write -P 3 900G 4k' -c 'read -P 3 900G 4k' -c 'write -z -u 898G 1900M' \
	-c 'read -P 3 900G 4k' -c 'write -z -u 899G 1900M' -c 'read -P 0 900G 1M'
