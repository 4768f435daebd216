#!/bin/bash
# If this fails, the units in contrib/ do not start on a storage node, or start something that this server is not.
. "$(dirname "$0")/peers.sh"
needs systemd-analyze

plan 2
# The program is not installed here; everything else is as it is shipped.
mkdir "$tmp/units"
for unit in "$top"/contrib/*.socket "$top"/contrib/*.service; do
	sed "s|/usr/local/sbin|$build|" "$unit" >"$tmp/units/${unit##*/}"
done
verifies()
{
	local said

	said=$(SYSTEMD_UNIT_PATH="$tmp/units:" systemd-analyze verify --man=no "$tmp/units"/* 2>&1) || { echo "$said"; return 1; }
	# Of other units on this machine it may say what it likes.
	! grep vnbd <<<"$said"
}
ok "systemd-analyze finds nothing wrong" verifies
echo 'Bogus=1' >>"$tmp/units/vnbd-server.socket"
ok "and would" eval '! verifies'
