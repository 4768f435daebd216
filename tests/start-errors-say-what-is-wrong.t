#!/bin/bash
# If this fails, an operator with a typing error in a unit file has to guess what the server did not like, or the server
# runs with something else than was asked for.
. "$(dirname "$0")/peers.sh"
needs python3

# refused STATUS MESSAGE ARGUMENT...: it ends at once with that status, and its last word on the matter is the message.
refused()
{
	local status=0

	timeout 10 "$build/vnbd-server" "${@:3}" >"$tmp/out" 2>"$tmp/err" </dev/null || status=$?
	cat "$tmp/out" "$tmp/err"
	[ $status -eq "$1" ] || { echo "status $status, expected $1"; return 1; }
	[ ! -s "$tmp/out" ] || { echo "errors belong on stderr"; return 1; }
	grep -v "^vnbd-server: error: try 'vnbd-server --help'\$" "$tmp/err" | tail -1 | grep -qxF -- "vnbd-server: error: $2" ||
		{ echo "expected: vnbd-server: error: $2"; return 1; }
}

# The same, of a process that may not make files of more than 64 KiB.
refused_with_little()
{
	(ulimit -f 64 && refused "$@")
}

modes="writeback, writethrough, none, directsync, unsafe"
keys="cache=MODE, readonly, overlay=FILE, volatile=on, record=FILE, description=TEXT, tls, allow-address=RANGE, allow-cert=NAME, allow-subject=DN, allow-psk=USER, fault=RULE"
addresses="not HOST:PORT, [IPv6]:PORT, unix:PATH or vsock:[CID:]PORT"
d=$tmp/disk
truncate -s 1M "$d"
long=$(printf 'x%.0s' $(seq 120))

# Somebody else's port.
start busy python3 -u -c 'import socket, time
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(); print(s.getsockname()[1]); time.sleep(600)'
wait_until 10 test -s "$tmp/busy.log"
port=$(cat "$tmp/busy.log")

plan 31
ok "a missing file" refused 1 "export 'a': $tmp/none: stat: No such file or directory" --export "a=$tmp/none"
ok "a missing FILE" refused 1 "export '': $tmp/none: stat: No such file or directory" "$tmp/none"
ok "a folder" refused 1 "export 'a': $tmp: neither a regular file nor a block device" --export "a=$tmp"
ok "a character device" refused 1 "export 'a': /dev/null: neither a regular file nor a block device" --export a=/dev/null
ok "a name given twice" refused 1 "export 'a': there is one of that name already" --export "a=$d" --export "a=$d"
ok "two default exports" refused 2 "'$d': there is a default export already: $d" "$d" "$d"
ok "a port in use" refused 1 "127.0.0.1:$port: bind: Address already in use" --listen "127.0.0.1:$port" "$d"
ok "an address of another machine" refused 1 "192.0.2.1:10809: bind: Cannot assign requested address" \
	--listen 192.0.2.1:10809 "$d"
ok "a socket's folder that is not there" refused 1 "unix:$tmp/no/x: bind: No such file or directory" \
	--listen "unix:$tmp/no/x" "$d"
ok "a socket's path that is too long" refused 1 "unix:/$long: the path of a Unix socket has 1 to 107 bytes" \
	--listen "unix:/$long" "$d"
ok "a file in the socket's place" refused 1 "unix:$d: exists and is not a socket" --listen "unix:$d" "$d"
ok "one address given twice" refused 1 "unix:$tmp/s: another server listens there" --listen "unix:$tmp/s" "unix:$tmp/s" \
	--export "=$d"
ok "after which no socket is left" [ ! -e "$tmp/s" ]
ok "an overlay that is longer than files may be" refused_with_little 1 \
	"export 'a': $tmp/overlay: cannot be made: File too large" --export "a=$d,overlay=$tmp/overlay"

ok "nothing to export" refused 2 "nothing to export: give a FILE, --export, --export-dir or --config"
ok "an unknown mode" refused 2 "--export a=$d,cache=fast: unknown cache mode 'fast'; known: $modes" \
	--export "a=$d,cache=fast"
ok "an empty mode" refused 2 "--export a=$d,cache=: unknown cache mode ''; known: $modes" --export "a=$d,cache="
ok "an unknown key" refused 2 "--export a=$d,ro: unknown key 'ro'; known: $keys (a comma in a path is written ',,')" \
	--export "a=$d,ro"
ok "a key without its value" refused 2 "--export a=$d,cache: 'cache' needs a value" --export "a=$d,cache"
ok "a value without its key" refused 2 "--export a=$d,readonly=no: 'readonly' takes no value" --export "a=$d,readonly=no"
ok "a key given twice" refused 2 "--export a=$d,cache=none,cache=none: 'cache' is given twice" \
	--export "a=$d,cache=none,cache=none"
ok "an export without a path" refused 2 "--export $d: not NAME=PATH" --export "$d"
ok "an export with an empty path" refused 2 "--export a=: the path is empty" --export a=
ok "no address" refused 2 "--listen localhost: $addresses" --listen localhost "$d"
ok "a port that is none" refused 2 "--listen 127.0.0.1:70000: $addresses" --listen 127.0.0.1:70000 "$d"
ok "no workers" refused 2 "--workers 0: not a number from 1 to 256" --workers 0 "$d"
ok "too many" refused 2 "--workers 257: not a number from 1 to 256" --workers 257 "$d"
ok "a number that is none" refused 2 "--workers 4x: not a number from 1 to 256" --workers 4x "$d"
ok "a kernel that is neither" refused 2 "--tls-kernel on: not auto or off" --tls-kernel on "$d"
ok "an unknown option" refused 2 "'--frobnicate': no such option is known, or it is ambiguous or takes no argument" \
	--frobnicate "$d"
ok "an option without its argument" refused 2 "'--export': the argument is missing" --export
