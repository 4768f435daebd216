# peers.sh -- what the TAP tests in bash share: results, a folder to work in, daemons and peers that surely end.
#
#	. "$(dirname "$0")/peers.sh"
#	needs qemu-io
#	plan 2
#	start_server --listen "unix:$tmp/nbd" --export "a=$tmp/disk"
#	ok "reads what it wrote" qemu-io -f raw "nbd+unix:///a?socket=$tmp/nbd" -c 'write -P 7 0 4k' -c 'read -P 7 0 4k'
#	ok "the server ends cleanly" stop server
#
# $tmp is removed and everything started is killed at exit, however the test ends.  Logs of what was started are shown
# if a test failed.

set -u

tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=${tests%/*}
build=${VNBD_BUILD:-$top/build/release}
case $build in
/*) ;;
*) build=$PWD/$build ;;
esac
tmp=$(mktemp -d "${TMPDIR:-/tmp}/vnbd-test.XXXXXX")

# How long a program may take to be ready, or to end when told to.  Generous: a sanitizer build on a busy machine.
ready_s=20

declare -A pid_of=()
tests_run=0
tests_failed=0

# ---- results

plan()
{
	echo "1..$1"
}

note()
{
	sed 's/^/# /' <<<"$*"
}

# skip_all REASON: instead of a plan.  CI is to have every peer, so there it is a failure.
skip_all()
{
	if [ -n "${CI:-}" ]; then
		plan 1
		echo "not ok 1 - may not be skipped in CI: $1"
		exit 1
	fi
	echo "1..0 # SKIP $1"
	exit 0
}

# needs PROGRAM...: skips the whole test where one is missing.
needs()
{
	local program

	for program; do
		command -v "$program" >/dev/null || skip_all "$program is not installed"
	done
}

# ok NAME COMMAND...: one test, passed if the command succeeds; its output is shown if it does not.
ok()
{
	local name=$1 status

	shift
	tests_run=$((tests_run + 1))
	if "$@" >"$tmp/.output" 2>&1; then
		echo "ok $tests_run - $name"
		return
	else
		status=$?
	fi
	tests_failed=$((tests_failed + 1))
	echo "not ok $tests_run - $name"
	note "status $status from: $*"
	sed 's/^/# /' "$tmp/.output"
}

# same WHAT EXPECTED ACTUAL: one test; empty values are never the same.
same()
{
	ok "$1" same_text "$2" "$3"
}

same_text()
{
	[ -n "$1" ] && [ "$1" = "$2" ] || {
		printf 'expected: %s\n     got: %s\n' "$1" "$2"
		return 1
	}
}

# ---- processes

# Nothing ever comes here: to wait on it takes no process, as sleep(1) would.  Processes are what waiting costs: a poll that
# starts three of them keeps a slow processor busy.
exec {never}<> <(:)

# wait_until SECONDS COMMAND...: polls; fails if the time is up before the command succeeds.
wait_until()
{
	local deadline=$((SECONDS + $1))

	shift
	until "$@"; do
		[ $SECONDS -lt $deadline ] || return 1
		read -r -t 0.05 -u "$never" || true
	done
}

# start NAME COMMAND...: in the background, with its output in $tmp/NAME.log.  pdeathsig: not even a SIGKILL of the test
# leaves it behind.
start()
{
	local name=$1

	shift
	setpriv --pdeathsig KILL -- "$@" </dev/null >>"$tmp/$name.log" 2>&1 {never}>&- &
	pid_of[$name]=$!
}

# start_ready NAME PATTERN COMMAND...: and waits until its output has PATTERN (grep -E) once more than before.
start_ready()
{
	local name=$1 pattern=$2 before

	shift 2
	before=$(said "$name" "$pattern")
	start "$name" "$@"
	wait_until $ready_s ready_or_gone "$name" "$pattern" "$before"
	if [ "$(said "$name" "$pattern")" -le "$before" ]; then
		tests_failed=$((tests_failed + 1))
		echo "not ok $((tests_run + 1)) - $name gets ready"
		exit 1
	fi
}

# said NAME PATTERN: how many lines of its output have PATTERN.
said()
{
	count_said "$1" "$2"
	echo "$said_lines"
}

# count_said NAME PATTERN: leaves that in $said_lines.
count_said()
{
	local line

	said_lines=0
	[ -e "$tmp/$1.log" ] || return 0
	while IFS= read -r line || [ -n "$line" ]; do
		[[ ! $line =~ $2 ]] || said_lines=$((said_lines + 1))
	done <"$tmp/$1.log"
}

# has_said NAME PATTERN [BEFORE]: in more than BEFORE lines.
has_said()
{
	count_said "$1" "$2"
	[ "$said_lines" -gt "${3:-0}" ]
}

ready_or_gone()
{
	has_said "$1" "$2" "$3" || gone "$1"
}

# stop NAME [SIGNAL]: sends SIGTERM, or SIGNAL, waits, and returns the exit status.
stop()
{
	local pid=${pid_of[$1]}

	kill -s "${2:-TERM}" "$pid" 2>/dev/null
	# Bash has a word to say about a killed child as soon as it sees one.
	if ! wait_until $ready_s gone "$1" 2>/dev/null; then
		echo "$1 did not end within $ready_s s"
		kill -s KILL "$pid"
	fi
	unset "pid_of[$1]"
	wait "$pid" 2>/dev/null
}

# A child that ended stays a zombie until it is waited for, and kill -0 finds zombies.
gone()
{
	local stat=

	read -r stat 2>/dev/null <"/proc/${pid_of[$1]}/stat"
	stat=${stat##*) }
	[ -z "$stat" ] || [ "${stat%% *}" = Z ]
}

# start_server ARGUMENT...: vnbd-server as "server", until it listens; server_uris then tells where.
start_server()
{
	start_ready server '^vnbd-server: listening on ' "$build/vnbd-server" "$@"
}

# server_uris: the addresses that the server last said it listens on, one a line, without the export's name.
server_uris()
{
	sed -n 's/^vnbd-server: listening on //p' "$tmp/server.log"
}

# server_port: the TCP port of its last listener.
server_port()
{
	server_uris | sed -n 's/^nbd:.*:\([0-9]*\)\/*$/\1/p' | tail -1
}

# start_client SOCKET ARGUMENT...: vnbd-client as "client", until it listens at SOCKET.
start_client()
{
	start_ready client '^vnbd-client: listening on ' "$build/vnbd-client" "--socket-path=$1" "${@:2}"
}

finish()
{
	local status=$? name log

	for name in "${!pid_of[@]}"; do
		kill -s KILL "${pid_of[$name]}" 2>/dev/null
		wait "${pid_of[$name]}" 2>/dev/null
	done
	if [ $tests_failed -gt 0 ]; then
		for log in "$tmp"/*.log; do
			[ -s "$log" ] || continue
			note "${log##*/}:"
			tail -n 60 "$log" | sed 's/^/#   /'
		done
	fi
	rm -rf "$tmp"
	[ "$status" -ne 0 ] || [ $tests_failed -eq 0 ] || status=1
	exit "$status"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM
