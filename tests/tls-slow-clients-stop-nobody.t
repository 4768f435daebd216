#!/bin/bash
# If this fails, whoever starts a TLS handshake and leaves it, or reads nothing, takes everybody else's disks, or memory.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/tls.sh"
needs nbdcopy nbdsh python3

# Left alone at each stage: after STARTTLS, in the middle of the handshake, after it, in the middle of a record.
cat >"$tmp/slow.py" <<'END'
import ssl, sys, time
from nbd_raw import *
address, authority = sys.argv[1:]
kept = []
for stage in [0, 1, 2, 3] * 10:
    c = Connection(address)
    kept.append(c)
    c.greet()
    assert c.option(OPT_STARTTLS)[0].type == REP_ACK
    context = ssl.create_default_context(cafile=authority)
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(into, out, server_hostname="localhost")
    if stage == 0:
        continue
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        hello = out.read()
    c.send(hello if stage > 1 else hello[:100])
    while stage > 1:
        into.write(c.socket.recv(65536))
        try:
            tls.do_handshake()
            c.send(out.read())
            break
        except ssl.SSLWantReadError:
            pass
    if stage == 3:
        tls.write(option_bytes(OPT_LIST))
        c.send(out.read()[:20])
print("waiting", flush=True)
time.sleep(600)
END

# Asks for 100 times 8 MiB, and takes nothing.
cat >"$tmp/greedy.py" <<'END'
import ssl, sys, time
from nbd_raw import *
address, authority = sys.argv[1:]
c = Connection(address)
c.greet()
assert c.option(OPT_STARTTLS)[0].type == REP_ACK
c.socket = ssl.create_default_context(cafile=authority).wrap_socket(c.socket, server_hostname="localhost")
assert c.option(OPT_GO, info_request(""))[-1].type == REP_ACK
# In one piece: the server soon stops reading, and a Unix socket that holds many small pieces takes no more of them.
c.send(b"".join(request_bytes(CMD_READ, 0, 8 << 20, cookie) for cookie in range(100)))
print("waiting", flush=True)
time.sleep(600)
END

copies()
{
	nbdcopy --connections=2 "$tmp/source" "$uri" && cmp "$tmp/source" "$tmp/disk" && nbdcopy "$uri" "$tmp/back" &&
		cmp "$tmp/source" "$tmp/back"
}

memory_mib()
{
	awk '/^VmRSS:/ { print int($2 / 1024) }' "/proc/${pid_of[server]}/status"
}

# Each may hold 64 MiB of data; the rest is what a sanitizer keeps.
is_bounded()
{
	echo "$(memory_mib) MiB"
	[ "$(memory_mib)" -lt 700 ]
}

ends_in_time()
{
	local before=$SECONDS

	stop server && [ $((SECONDS - before)) -lt 15 ]
}

plan 4
make_authority "$tmp/ca"
make_server_certificates "$tmp/ca" "$tmp/server"
head -c 32M /dev/urandom >"$tmp/source"
truncate -s 32M "$tmp/disk"
start_server --workers 1 --listen "unix:$tmp/nbd" --tls-certificates "$tmp/server" --export "=$tmp/disk"
mkdir "$tmp/client"
cp "$tmp/ca/ca-cert.pem" "$tmp/client/"
uri="nbds+unix://localhost/?socket=$tmp/nbd&tls-certificates=$tmp/client&tls-verify-peer=false"
export PYTHONPATH=$tests PYTHONDONTWRITEBYTECODE=1

start_ready slow '^waiting' python3 "$tmp/slow.py" "$tmp/nbd" "$tmp/ca/ca-cert.pem"
ok "beside forty handshakes that were left, copies both ways" copies
for i in 1 2 3; do
	start_ready "greedy$i" '^waiting' python3 "$tmp/greedy.py" "$tmp/nbd" "$tmp/ca/ca-cert.pem"
done
ok "and beside three who take no replies" copies
ok "whose requests take no more memory than is allowed" is_bounded
ok "the server ends although none of them goes" ends_in_time
