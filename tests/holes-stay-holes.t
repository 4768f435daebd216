#!/bin/bash
# What clients are told of an export's holes is what its file has, in every cache mode, and copies keep them.
# If this fails, a backup leaves out data, or a copy of a mostly empty disk fills the one it is written to.
. "$(dirname "$0")/peers.sh"
needs qemu-img nbdcopy nbdinfo python3

python()
{
	FILES=$tmp PYTHONPATH=$tests python3 - "$uri"
}

# TARGET: has the source's bytes, and not much more allocated than its 256 KiB.
is_sparse_copy()
{
	cmp "$tmp/writeback" "$1" && [ "$(du -k "$1" | cut -f1)" -lt 1024 ]
}

map_of()
{
	nbdinfo --map "nbd+unix:///$1?socket=$tmp/nbd" | awk '{ print $1, $2, $3 }'
}

modes=(writeback writethrough none directsync unsafe)
plan 16
exports=()
for mode in "${modes[@]}"; do
	truncate -s 256M "$tmp/$mode"
	for mib in 1 2 200; do
		head -c 64K /dev/urandom | dd of="$tmp/$mode" bs=64K seek=$((mib * 16)) conv=notrunc status=none
	done
	exports+=(--export "$mode=$tmp/$mode,cache=$mode")
done
truncate -s 64M "$tmp/comb"
truncate -s 32M "$tmp/stripes"
start_server --listen "unix:$tmp/nbd" "${exports[@]}" --export "comb=$tmp/comb" \
	--export "stripes=$tmp/stripes"
uri=$(server_uris)

expected="0 1048576 3
1048576 65536 0
1114112 983040 3
2097152 65536 0
2162688 207552512 3
209715200 65536 0
209780736 58654720 3"
for mode in "${modes[@]}"; do
	same "$mode: nbdinfo --map" "$expected" "$(map_of "$mode")"
done
uri_of="nbd+unix:///writeback?socket=$tmp/nbd"
same "qemu-img map" 4 "$(qemu-img map -f raw --output=json "$uri_of" | grep -c '"data": false')"
ok "nbdcopy copies" nbdcopy "$uri_of" "$tmp/copy"
ok "nbdcopy's copy has the holes" is_sparse_copy "$tmp/copy"
ok "qemu-img copies" qemu-img convert -f raw -O raw "$uri_of" "$tmp/copy2"
ok "qemu-img's copy has the holes" is_sparse_copy "$tmp/copy2"

ok "the status follows completed writes and zeroes" python <<'END'
import sys
from nbd_dialects import *
MIB = 1 << 20
for export in ("writeback", "none"):
    for form in (STRUCTURED, EXTENDED):
        writer, reader = Client(sys.argv[1], export=export), Client(sys.argv[1], form, export)
        for n in range(20):
            at = (10 + n) * MIB
            assert writer.ask(WRITE, at, 65536, payload=b"x" * 65536).error == 0
            assert reader.ask(STATUS, at - 65536, 65537).extents == [(65536, HOLE), (65536, 0)]
            assert writer.ask(ZERO, at, 65536).error == 0
            assert reader.ask(STATUS, at, 65536, REQ_ONE).extents == [(65536, HOLE)]
END

ok "more extents than a reply tells are asked for again" python <<'END'
import os, sys
from nbd_dialects import *
disk = os.open(os.environ["FILES"] + "/comb", os.O_RDWR)
for at in range(0, 64 << 20, 8192):
    os.pwrite(disk, b"tooth", at)
for form in (STRUCTURED, EXTENDED):
    client = Client(sys.argv[1], form, "comb")
    first = client.ask(STATUS, 0, client.size).extents
    assert len(first) == 4096, len(first)
    assert client.map() == [(4096, 0), (4096, HOLE)] * 8192
    assert client.ask(STATUS, 0, client.size, REQ_ONE).extents == [(4096, 0)]
END

ok "holes of a read leave as holes, and unfragmented where that is asked" python <<'END'
import os, sys
from nbd_dialects import *
MIB = 1 << 20
for export in ("writeback", "none"):
    file = open(f"{os.environ['FILES']}/{export}", "rb").read(3 * MIB)
    for form in (STRUCTURED, EXTENDED):
        client = Client(sys.argv[1], form, export)
        reply = client.ask(READ, 0, 3 * MIB)
        assert reply.data == file
        assert [chunk[1:] for chunk in reply.chunks] == [
            (MIB, True), (65536, False), (MIB - 65536, True), (65536, False), (MIB - 65536, True)], reply.chunks
        assert client.ask(READ, 100, 3 * MIB - 200).data == file[100:-100]
        reply = client.ask(READ, 0, 3 * MIB, DF)
        assert reply.data == file and reply.chunks == [(0, 3 * MIB, False)]
    assert Client(sys.argv[1], None, export).ask(READ, 0, 3 * MIB).data == file
END

ok "clients that go in the middle of a reply of many messages harm nobody" python <<'END'
import os, random, sys
from nbd_dialects import *
with open(os.environ["FILES"] + "/stripes", "r+b") as file:
    for stripe in range(512):
        file.seek(stripe * 65536)
        file.write(b"s" * 32768)
whole = open(os.environ["FILES"] + "/stripes", "rb").read()
random.seed(1)
for n in range(6):
    client = Client(sys.argv[1], (STRUCTURED, EXTENDED)[n % 2], "stripes")
    for cookie in range(2):
        client.send(READ, 0, len(whole), cookie=cookie)
        client.send(STATUS, 0, len(whole), cookie=100 + cookie)
    client.receive(random.randrange(1, 3 << 20))
    client.socket.close()
reply = Client(sys.argv[1], EXTENDED, "stripes").ask(READ, 0, len(whole))
assert reply.data == whole and len(reply.chunks) == 1024
END

ok "without a selection for this export there is no status" python <<'END'
import sys
from nbd_dialects import *
for form in (STRUCTURED, EXTENDED):
    for client in (Client(sys.argv[1], form, "writeback", contexts=()),
                   Client(sys.argv[1], form, "writeback", contexts=("base:", "x-other:thing")),
                   Client(sys.argv[1], form, "writeback", context_export="none")):
        assert client.ask(STATUS, 0, 4096).error == EINVAL
        assert client.ask(READ, 0, 4096).error == 0
assert Client(sys.argv[1], None, "writeback").ask(STATUS, 0, 4096).error == EINVAL
END

ok "the server ends cleanly" stop server
