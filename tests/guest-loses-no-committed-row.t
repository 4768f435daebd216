#!/bin/bash
# SQLite in a guest, on the kernel's nbd driver, has every row that it was told is committed after the power of its disk was cut;
# with cache=unsafe it has not, and that is found.
# If this fails, either vnbdctl powercut loses what was flushed, or the power cuts of contrib/ find nothing any more.
. "$(dirname "$0")/peers.sh"
. "$tests/guest/host.sh"
needs e2fsck sqlite3 python3

# power_cut ARGUMENT...: what it says is in $tmp/said, too.
power_cut()
{
	TMPDIR=$tmp "$top/contrib/crash-tests/power-cut" "$@" 2>&1 | tee "$tmp/said"
	return "${PIPESTATUS[0]}"
}

plan 2
ok "no committed row is lost, but with unsafe" power_cut --cuts 2
ok "each cut is told" grep -q '^writeback, cut 2: .* rows found, 0 lost$' "$tmp/said"
