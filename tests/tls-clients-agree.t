#!/bin/bash
# If this fails, a client in the wild cannot use TLS with the server, or what it reads through TLS is not what it wrote.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/tls.sh"
needs nbdinfo nbdcopy nbdsh qemu-img qemu-io nbd-client sha256sum

sum()
{
	sha256sum <"$1" | cut -c1-64
}

# Debian's Python has the module, whichever one stands first in the path.
shell()
{
	PATH=/usr/bin:$PATH nbdsh "$@"
}

qemu_object()
{
	case $1 in
	x509) echo "tls-creds-x509,id=t,dir=$tmp/client,endpoint=client" ;;
	psk) echo "tls-creds-psk,id=t,dir=$tmp/qemu,username=bob,endpoint=client" ;;
	esac
}

qemu_target()
{
	echo "driver=nbd,host=127.0.0.1,port=$port,export=a,tls-creds=t"
}

# Not aligned, not in order, each larger or smaller than a record.
patterns()
{
	qemu-io --object "$(qemu_object "$1")" --image-opts "$(qemu_target)" -c 'write -P 1 0 3M' -c 'write -P 2 511 16385' \
		-c 'aio_write -P 3 16000 17000' -c aio_flush -c 'write -z 8k 8k' -c 'write -f -P 4 2M 512' -c flush \
		-c 'read -P 1 0 511' -c 'read -P 2 511 7681' -c 'read -P 0 8k 7808' -c 'read -P 0 16000 384' \
		-c 'read -P 3 16384 16616' -c 'read -P 1 33000 1000000' -c 'read -P 4 2M 512' | tee "$tmp/qemu-io" &&
		! grep -q 'verification failed' "$tmp/qemu-io"
}

converts()
{
	qemu-img convert --object "$(qemu_object "$1")" --target-image-opts -n -f raw "$tmp/source" "$(qemu_target)" &&
		cmp "$tmp/source" "$tmp/a" &&
		qemu-img convert --object "$(qemu_object "$1")" --image-opts "$(qemu_target)" -O raw "$tmp/back" &&
		cmp "$tmp/source" "$tmp/back"
}

many_in_flight()
{
	shell -c "uri = '$1'" -c '
import random
h.set_uri_allow_local_file(True)
h.connect_uri(uri)
assert h.get_tls_negotiated()
random.seed(7)
cookies = []
def finish():
    while h.aio_in_flight():
        h.poll(-1)
    assert all(h.aio_command_completed(cookie) for cookie in cookies)
    cookies.clear()
disk = bytearray(h.pread(32 << 20, 0))
pieces = list(range(0, 1 << 20, 2048))
random.shuffle(pieces)
buffers = []
for offset in pieces:
    data = random.randbytes(2048)
    disk[offset:offset + 2048] = data
    buffers.append(nbd.Buffer.from_bytearray(bytearray(data)))
    cookies.append(h.aio_pwrite(buffers[-1], offset))
finish()
reads = [(nbd.Buffer(length), offset) for offset, length in
         ((random.randrange(1 << 20), random.choice((1, 512, 4095, 16384, 100000, 1 << 20))) for _ in range(400))]
cookies += [h.aio_pread(buffer, offset) for buffer, offset in reads]
finish()
for buffer, offset in reads:
    data = buffer.to_bytearray()
    assert data == disk[offset:offset + len(data)], offset
big = [random.randbytes(32 << 20), random.randbytes((32 << 20) - 1)]
for data in big:
    h.pwrite(data, 0)
    assert h.pread(len(data), 0) == data
buffers = [nbd.Buffer(32 << 20) for _ in range(3)]
cookies += [h.aio_pread(buffer, 0) for buffer in buffers]
finish()
assert all(buffer.to_bytearray()[:len(big[1])] == big[1] for buffer in buffers)
h.shutdown()
'
}

# All that it does without a kernel that has nbd.
lists()
{
	nbd-client -l 127.0.0.1 "$port" -certfile "$tmp/client/client-cert.pem" -keyfile "$tmp/client/client-key.pem" \
		-cacertfile "$tmp/client/ca-cert.pem" -tlshostname localhost 2>&1 | tee "$tmp/list" && grep -qx "a: through TLS" "$tmp/list"
}

plan 24
make_authority "$tmp/ca"
make_server_certificates "$tmp/ca" "$tmp/server"
make_certificates "$tmp/ca" "$tmp/client" client 'cn = "alice"' tls_www_client
make_key "$tmp/keys" alice
make_key "$tmp/keys" bob
mkdir "$tmp/qemu"
grep '^bob:' "$tmp/keys" >"$tmp/qemu/keys.psk"
head -c 35000000 /dev/urandom >"$tmp/source"
truncate -s 40M "$tmp/source" "$tmp/a"
expected=$(sum "$tmp/source")
start_server --listen "unix:$tmp/nbd" 127.0.0.1:0 --workers 2 --export "a=$tmp/a,description=through TLS" \
	--tls-certificates "$tmp/server" --tls-verify-peer --tls-psk "$tmp/keys"
port=$(server_port)
ok "who makes the records is told" grep -qE '^vnbd-server: TLS records are encrypted by (the kernel where one key lasts|GnuTLS: the kernel has no)' \
	"$tmp/server.log"
x509="nbds://127.0.0.1:$port/a?tls-certificates=$tmp/client"
psk="nbds://bob@127.0.0.1:$port/a?tls-psk-file=$tmp/qemu/keys.psk"
unix="nbds+unix://bob@/a?socket=$tmp/nbd&tls-psk-file=$tmp/qemu/keys.psk"

for way in x509 psk unix; do
	uri=${!way}
	same "nbdinfo, $way" "protocol: newstyle-fixed with TLS, using structured packets" "$(nbdinfo "$uri" | head -1)"
	ok "nbdcopy in, four connections, $way" nbdcopy --connections=4 --requests=64 --flush "$tmp/source" "$uri"
	same "the bytes are the same" "$expected" "$(sum "$tmp/a")"
	ok "nbdcopy out, requests of 32 MiB, $way" nbdcopy --request-size=33554432 --connections=2 --requests=4 "$uri" "$tmp/back"
	same "the bytes are the same" "$expected" "$(sum "$tmp/back")"
done
for way in x509 psk; do
	ok "hundreds in flight and 32 MiB payloads, $way" many_in_flight "${!way}"
	ok "qemu-img converts both ways, tls-creds-$way" converts $way
	ok "qemu-io's patterns, tls-creds-$way" patterns $way
done
ok "nbd-client lists, with its certificate" lists
ok "the server ends cleanly" stop server
