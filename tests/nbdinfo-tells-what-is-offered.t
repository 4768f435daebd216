#!/bin/bash
# If this fails, clients are told of abilities that the server lacks, and rely on them, or do not use those that it has.
. "$(dirname "$0")/peers.sh"
needs nbdinfo python3

# tells URI KEY=VALUE...: what nbdinfo says of the one export there, as JSON.
tells()
{
	nbdinfo --json "$1" >"$tmp/json" && python3 - "$tmp/json" "${@:2}" <<'END'
import json, sys
told = json.load(open(sys.argv[1]))
export = told["exports"][0]
wrong = []
for pair in sys.argv[2:]:
    key, value = pair.split("=", 1)
    if str(export.get(key, told.get(key))) != value:
        wrong.append(f"{key}: expected {value}, got {export.get(key, told.get(key))}")
print("\n".join(wrong))
sys.exit(bool(wrong))
END
}

listed()
{
	nbdinfo --list --json "$1" | python3 -c '
import json, sys
print(*sorted(e["export-name"] + ":" + str(e["export-size"]) for e in json.load(sys.stdin)["exports"]))'
}

truncate -s 3M "$tmp/d,sk" "$tmp/direct" "$tmp/stable" "$tmp/unsafe"
truncate -s 1000 "$tmp/odd"
plan 19
start_server --listen "unix:$tmp/one" --listen "unix:$tmp/two" '[::1]:0' 127.0.0.1:0 --export "=$tmp/d,,sk" \
	--export "ro=$tmp/d,,sk,readonly,description=for reading,, only" --export "direct=$tmp/direct,cache=none" \
	--export "stable=$tmp/stable,cache=writethrough" --export "odd=$tmp/odd" --export "unsafe=$tmp/unsafe,cache=unsafe"

can="can_cache=True can_fua=True can_multi_conn=True can_trim=True can_zero=True can_df=True"
uri="nbd+unix:///?socket=$tmp/one"
ok "the default export" tells "$uri" export-name= export-size=3145728 is_read_only=False can_flush=True $can
ok "its block sizes" tells "$uri" block_size_minimum=1 block_size_maximum=33554432
ok "its preferred block is one that disks like" bash -c \
	"p=\$(nbdinfo --json '$uri' | sed -n 's/.*\"block_size_preferred\": \([0-9]*\).*/\1/p'); [ \$p -ge 4096 ] && [ \$((p & p - 1)) = 0 ]"
ok "structured replies" tells "$uri" protocol=newstyle-fixed structured=True TLS=False
ok "fast zeroes where there are zeroes" tells "$uri" can_fast_zero=True
ok "no description" bash -c "! nbdinfo --json '$uri' | grep description"
ok "a read-only export, its description and size" tells "nbd+unix:///ro?socket=$tmp/one" is_read_only=True \
	"description=for reading, only" export-size=3145728
ok "O_DIRECT takes any block, too" tells "nbd+unix:///direct?socket=$tmp/one" block_size_minimum=1 $can
ok "a stable export keeps flush and FUA" tells "nbd+unix:///stable?socket=$tmp/one" $can can_flush=True
ok "so does an unsafe one, which ignores them" tells "nbd+unix:///unsafe?socket=$tmp/one" can_flush=True can_fua=True
ok "a size that no block divides" tells "nbd+unix:///odd?socket=$tmp/two" export-size=1000
all=":3145728 direct:3145728 odd:1000 ro:3145728 stable:3145728 unsafe:3145728"
n=0
for uri in $(server_uris); do
	n=$((n + 1))
	same "--list, listener $n of 4: ${uri%%:*}" "$all" "$(listed "$uri")"
done
ok "--size" [ "$(nbdinfo --size "$uri/odd")" = 1000 ]
ok "--can and --is agree" bash -c "nbdinfo --can multi-conn '$uri/ro' && nbdinfo --is readonly '$uri/ro' && ! nbdinfo --is tls '$uri'"
ok "an unknown name is refused" bash -c "! nbdinfo '$uri/none' 2>'$tmp/why' && grep -i 'no such file' '$tmp/why'"
ok "the server ends cleanly" stop server
