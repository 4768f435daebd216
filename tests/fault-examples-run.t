#!/bin/bash
# If this fails, whoever begins with the examples of fault tests begins with one that does not work.
. "$(dirname "$0")/peers.sh"
needs nbdcopy qemu-io

PATH=$build:$PATH
plan 3
ok "a shell script that drives faults" sh "$top/contrib/fault-examples/with-a-shell.sh"
ok "each of its failures was seen" test "$(grep -c 'as it should: ' "$tmp/.output")" -ge 3
ok "a test suite in Python" env PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$top/contrib/fault-examples/with-nbdsh.py"
