#!/bin/bash
# If this fails, disk images cannot be brought to the server or taken from it with the tool that everybody uses for that.
. "$(dirname "$0")/peers.sh"
needs qemu-img

mib=64

# An image with data, holes and an odd place or two.
make_source()
{
	truncate -s ${mib}M "$1"
	dd if=/dev/urandom of="$1" bs=1M count=8 conv=notrunc status=none
	dd if=/dev/urandom of="$1" bs=1M count=4 seek=40 conv=notrunc status=none
	dd if=/dev/urandom of="$1" bs=1000 count=7 seek=30001 conv=notrunc status=none
	dd if=/dev/urandom of="$1" bs=512 count=1 seek=$((mib * 2048 - 1)) conv=notrunc status=none
}

# mapped URI: the map covers the whole disk.
mapped()
{
	qemu-img map -f raw --output=json "$1" | tee "$tmp/map" |
		python3 -c 'import json, sys; print(max(e["start"] + e["length"] for e in json.load(sys.stdin)))' |
		grep -x $((mib << 20)) || { cat "$tmp/map"; false; }
}

plan 18
make_source "$tmp/source"
qemu-img convert -f raw -O qcow2 "$tmp/source" "$tmp/source.qcow2"
truncate -s ${mib}M "$tmp/unix" "$tmp/tcp"
start_server --listen "unix:$tmp/nbd" 127.0.0.1:0 --export "unix=$tmp/unix" --export "tcp=$tmp/tcp"

for name in unix tcp; do
	uri="nbd+unix:///unix?socket=$tmp/nbd"
	[ $name = unix ] || uri="nbd://127.0.0.1:$(server_port)/tcp"
	ok "$name: convert to the server" qemu-img convert -n -f raw -O raw "$tmp/source" "$uri"
	ok "$name: the bytes are there" cmp "$tmp/source" "$tmp/$name"
	ok "$name: compare finds them equal" qemu-img compare -f raw -F raw "$tmp/source" "$uri"
	ok "$name: convert from the server" qemu-img convert -f raw -O raw "$uri" "$tmp/back-$name"
	ok "$name: with the same bytes" cmp "$tmp/source" "$tmp/back-$name"
	ok "$name: convert again, out of order, on sixteen coroutines, without the host's cache" \
		qemu-img convert -n -W -m 16 -t none -f qcow2 -O raw "$tmp/source.qcow2" "$uri"
	ok "$name: the bytes are there still" cmp "$tmp/source" "$tmp/$name"
	ok "$name: map covers the disk" mapped "$uri"
done
dd if=/dev/zero of="$tmp/tcp" bs=1 count=1 seek=12345 conv=notrunc status=none
ok "compare finds one wrong byte" bash -c "qemu-img compare -f raw -F raw '$tmp/source' '$uri'; [ \$? = 1 ]"
ok "the server ends cleanly" stop server
