#!/bin/bash
# If this fails, a copy made fast (several connections, many requests, large ones) is not a copy.
. "$(dirname "$0")/peers.sh"
needs nbdcopy sha256sum

sum()
{
	sha256sum <"$1" | cut -c1-64
}

plan 17
head -c 100000000 /dev/urandom >"$tmp/source"	# no multiple of any block
truncate -s 120000001 "$tmp/source"
truncate -s 120000001 "$tmp/a" "$tmp/b"
start_server --listen "unix:$tmp/nbd" 127.0.0.1:0 --workers 4 --export "a=$tmp/a" --export "b=$tmp/b,cache=none"
a="nbd+unix:///a?socket=$tmp/nbd" b="nbd://127.0.0.1:$(server_port)/b"
expected=$(sum "$tmp/source")

ok "in, four connections" nbdcopy --connections=4 --requests=64 --flush "$tmp/source" "$a"
same "with the same bytes" "$expected" "$(sum "$tmp/a")"
ok "from server to server" nbdcopy --connections=4 "$a" "$b"
same "with the same bytes" "$expected" "$(sum "$tmp/b")"
ok "out, four connections" nbdcopy --connections=4 --requests=64 "$b" "$tmp/back"
same "with the same bytes" "$expected" "$(sum "$tmp/back")"
ok "to a pipe, one request at a time" bash -c "nbdcopy --synchronous '$a' - >'$tmp/back'"
same "with the same bytes" "$expected" "$(sum "$tmp/back")"
ok "requests of 32 MiB, out" nbdcopy --request-size=33554432 --connections=2 --requests=4 "$a" "$tmp/back"
same "with the same bytes" "$expected" "$(sum "$tmp/back")"
ok "requests of 32 MiB, in" nbdcopy --request-size=33554432 --connections=2 --requests=4 "$tmp/source" "$b"
same "with the same bytes" "$expected" "$(sum "$tmp/b")"
ok "zeroes are written allocated if so wanted" nbdcopy --allocated "$tmp/source" "$a"
same "with the same bytes" "$expected" "$(sum "$tmp/a")"
ok "allocated everywhere" [ "$(stat -c %b "$tmp/a")" -ge $((120000000 / 512)) ]
ok "a destination that holds zeroes already" nbdcopy --destination-is-zero "$tmp/source" "$b"
ok "the server ends cleanly" stop server
