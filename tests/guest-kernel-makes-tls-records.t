#!/bin/bash
# Where the kernel has TLS (here: a guest's), it makes the records of vnbd-server's connections, and what comes out is TLS: data, its
# end, and an end to what is not right.
# If this fails, such a server serves wrong bytes or breaks connections, or trusts what nobody has authenticated.
. "$(dirname "$0")/peers.sh"
. "$tests/guest/host.sh"

plan 2
ok "clients of every cipher read what they wrote" guest tls --timeout 100 --program "$build/vnbd-server" \
	--program "$build/tests/tls-exercise" --program "$build/tests/link-exercise"
same "the log tells who does it" "TLS records are encrypted by the kernel where one key lasts, or else by GnuTLS" \
	"$(sed -n 's/^vnbd-server: \(TLS records\)/\1/p' "$tmp/guest.log")"
