#!/bin/bash
# Where the server listens is what it was told and what it says; it takes the place of a dead server and of nothing else.
# If this fails, a restart after a crash needs a hand, or two servers write to one disk behind one address.
. "$(dirname "$0")/peers.sh"
needs nbdinfo

# refused STATUS PATTERN ARGUMENT...: the server ends with that status and says so.
refused()
{
	local status=0

	timeout 10 "$build/vnbd-server" "${@:3}" >"$tmp/refused" 2>&1 </dev/null || status=$?
	cat "$tmp/refused"
	[ $status -eq "$1" ] && grep -qF -- "$2" "$tmp/refused"
}

serves()
{
	[ "$(nbdinfo --size "$1")" = 1048576 ]
}

plan 19
truncate -s 1M "$tmp/disk" "$tmp/other"
start_server --listen "unix:$tmp/a" 127.0.0.1:0 '[::1]:0' --listen "unix:$tmp/b" "$tmp/disk"
same "one line an address" 4 "$(server_uris | wc -l)"
for uri in $(server_uris); do
	ok "${uri%%:*} serves" serves "$uri"
done
ok "a living server's socket is left alone" refused 1 \
	"vnbd-server: error: unix:$tmp/a: another server listens there" --listen "unix:$tmp/a" "$tmp/other"
ok "and its port" refused 1 "error: 127.0.0.1:$(server_uris | sed -n 's/.*127.0.0.1://p'): bind: Address already in use" \
	--listen "127.0.0.1:$(server_uris | sed -n 's/.*127.0.0.1://p')" "$tmp/other"
ok "which goes on" serves "nbd+unix:///?socket=$tmp/a"
stop server KILL
ok "a killed server leaves its socket" [ -S "$tmp/a" ]
start_server --listen "unix:$tmp/a" "$tmp/disk"
ok "which the next one replaces" serves "nbd+unix:///?socket=$tmp/a"
mv "$tmp/a" "$tmp/moved"
echo precious >"$tmp/a"
ok "it ends" stop server
same "and removes no file that is not its own" precious "$(cat "$tmp/a")"
ok "a file that is no socket is left alone" refused 1 "unix:$tmp/a: exists and is not a socket" \
	--listen "unix:$tmp/a" "$tmp/disk"
same "really" precious "$(cat "$tmp/a")"
ok "a missing file" refused 1 "error: export 'x': $tmp/none: stat: No such file or directory" --export "x=$tmp/none"
ok "nothing to export" refused 2 'error: nothing to export' --listen 127.0.0.1:0
ok "a mistyped mode" refused 2 "unknown cache mode 'writeb'; known: writeback," --export "x=$tmp/disk,cache=writeb"
ok "a name given twice" refused 1 "error: export 'x': there is one of that name already" \
	--listen 127.0.0.1:0 --export "x=$tmp/disk" --export "x=$tmp/disk"
ok "an unknown option" refused 2 "--lisen" --lisen "unix:$tmp/c" "$tmp/disk"
