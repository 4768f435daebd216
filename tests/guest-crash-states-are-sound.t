#!/bin/bash
# The crash tests of contrib/ in short: what a guest has synced on ext4 and xfs, or committed with SQLite, is there in the states
# that a power cut may leave; with cache=unsafe it is not, and that is found.
# If this fails, either those promises are broken or the crash tests find nothing any more.
. "$(dirname "$0")/peers.sh"
. "$tests/guest/host.sh"
needs e2fsck debugfs sqlite3 python3

crash_states()
{
	TMPDIR=$tmp "$top/contrib/crash-tests/crash-states" "$@"
}

plan 3
ok "ext4: files are there" crash_states ext4 files --steps 4 --states 12 --torn 4096
ok "xfs: files are there" crash_states xfs files --steps 3 --states 2
ok "SQLite: rows are lost where flushes are ignored, and it is found" crash_states ext4 sqlite --steps 4 --states 12 --cache unsafe
