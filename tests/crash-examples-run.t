#!/bin/bash
# If this fails, whoever begins with the examples of crash tests begins with one that does not work.
. "$(dirname "$0")/peers.sh"
needs nbdsh qemu-io

# sees STATES: what the shell's example printed.
sees()
{
	same_text "$1" "$(sed -n 's/^state . of .: //p' "$tmp/shell" | sort | tr '\n' ' ')"
}

export VNBD_BUILD=$build PYTHONDONTWRITEBYTECODE=1
plan 4
ok "a crash test in a shell" sh -c '"$0" >"$1"' "$top/contrib/crash-tests/example.sh" "$tmp/shell"
ok "sees each state of two writes" sees "A- AB B- BB "
ok "a crash test in Python" sh -c '/usr/bin/python3 "$0" >"$1"' "$top/contrib/crash-tests/example.py" "$tmp/python"
ok "finds what lacks a flush, and nothing else" sh -c 'cat "$0"; grep -q "^with a flush: 0 broken of [1-9]" "$0" &&
	grep -q "^without: [1-9][0-9]* broken of" "$0"' "$tmp/python"
