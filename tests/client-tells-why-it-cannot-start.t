#!/bin/bash
# vnbd-client that cannot serve says exactly why, with the exit status of its kind, and leaves nothing behind.
# If this fails, an operator with a typing error in a unit file has to guess, or a guest starts on a disk that is not there.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit nbdinfo python3

# refused STATUS MESSAGE ARGUMENT...: it ends at once with that status, and this is the first error it tells.
refused()
{
	local status=0

	timeout 15 "$build/vnbd-client" "${@:3}" >"$tmp/out" 2>"$tmp/err" </dev/null || status=$?
	cat "$tmp/out" "$tmp/err"
	[ $status -eq "$1" ] || {
		echo "status $status, expected $1"
		return 1
	}
	grep '^vnbd-client: error: ' "$tmp/err" | head -1 | grep -qxF -- "vnbd-client: error: $2" || {
		echo "expected: vnbd-client: error: $2"
		return 1
	}
}

# A port that was free a moment ago.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
s=$tmp/vm.sock
plan 24

ok "nobody at the port" refused 1 "nbd://127.0.0.1:$port/disk: Connection refused" --socket-path="$s" \
	"nbd://127.0.0.1:$port/disk"
ok "no such socket" refused 1 "nbd+unix:///?socket=$tmp/none: No such file or directory" --socket-path="$s" \
	"nbd+unix:///?socket=$tmp/none"
ok "no URI at all" refused 1 "storage1: NBD URI does not have a scheme: valid NBD URIs should start with a scheme like \
nbd://, nbds:// or nbd+unix://: Invalid argument" --socket-path="$s" storage1
ok "a password is not shown" refused 1 "nbds://127.0.0.1:$port/: Connection refused" --socket-path="$s" \
	"nbds://me:secret@127.0.0.1:$port/?tls-psk-file=$tmp/keys"
ok "not even in part" bash -c "! grep secret '$tmp/err'"
ok "and no socket was made" [ ! -e "$s" ]

truncate -s 1M "$tmp/disk"
serve nbdkit
ok "a folder that is not there" refused 1 "$tmp/no/x: bind: No such file or directory" --socket-path="$tmp/no/x" "$uri"
ok "a file in the socket's place" refused 1 "$tmp/disk: exists and is not a socket" --socket-path="$tmp/disk" "$uri"
long=$tmp/$(printf 'x%.0s' $(seq 120))
ok "a path too long" refused 1 "$long: the path of a Unix socket has 1 to 107 bytes" --socket-path="$long" "$uri"
ok "a descriptor that is none" refused 1 "descriptor 99: not a listening Unix stream socket" --fd=99 "$uri"
ok "a descriptor that is no socket" refused 1 "descriptor 0: not a listening Unix stream socket" --fd=0 "$uri"
kill_server
serve vnbd-server
ok "an export that is not there" refused 1 \
	"nbd+unix:///none?socket=$tmp/nbd: handshake: server has no export named 'none': No such file or directory" \
	--socket-path="$s" "nbd+unix:///none?socket=$tmp/nbd"

ok "nowhere to serve" refused 2 "where to serve? --socket-path, --fd or --vduse is missing" "$uri"
ok "two places to serve" refused 2 "--socket-path, --fd and --vduse exclude each other" --socket-path="$s" --fd=3 "$uri"
ok "a place and the host itself" refused 2 "--socket-path, --fd and --vduse exclude each other" --vduse=a --fd=3 "$uri"
ok "no name for a device" refused 2 "--vduse ../a: a device's name is of up to 64 letters, digits, '-', '_', '.'" --vduse=../a "$uri"
ok "no URI" refused 2 "the NBD URI is missing" --socket-path="$s"
ok "two URIs" refused 2 "'$uri': there is an NBD URI already" --socket-path="$s" "$uri" "$uri"
ok "no queues" refused 2 "--num-queues 0: not a number from 1 to 256" --socket-path="$s" --num-queues=0 "$uri"
ok "too many threads" refused 2 "--threads 17: not a number from 1 to 16" --socket-path="$s" --threads=17 "$uri"
ok "too many connections" refused 2 "--connections 17: not a number from 1 to 16" --socket-path="$s" --connections=17 "$uri"
ok "a descriptor that is no number" refused 2 "--fd x: not a number from 0 to 1048576" --fd=x "$uri"
ok "a serial too long" refused 2 "--serial 123456789012345678901: a serial has up to 20 characters" --socket-path="$s" \
	--serial=123456789012345678901 "$uri"
ok "a serial that is not ASCII" refused 2 "--serial ä: a serial is of printable ASCII characters" --socket-path="$s" \
	--serial=ä "$uri"
