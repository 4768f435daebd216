#!/bin/bash
# One vnbd-client with a file of devices: a server that is away, a socket that cannot be made, or a hostile VMM is the
# trouble of its own device alone; SIGHUP adds and removes devices, and a bad file changes nothing.
# If this fails, one machine's trouble, or a typing error, takes the disks of all others on the host.
. "$(dirname "$0")/peers.sh"
. "$(dirname "$0")/nbd-servers.sh"
needs nbdkit nbdinfo python3 "$build/bench/vuload"

file=$tmp/client.conf

# device NAME URI [KEY = VALUE]...: a section.
device()
{
	printf '[%s]\nuri = %s\nsocket-path = %s/%s.sock\n' "$1" "$2" "$tmp" "$1"
	[ $# -lt 3 ] || printf '%s\n' "${@:3}"
	echo
}

# load NAME SECONDS
load()
{
	timeout 60 "$build/bench/vuload" load "$tmp/$1.sock" --pattern=mix --queues=2 --qd=8 --verify --range=8M --time="$2"
}

# told PATTERN: the client says so, sooner or later.
told()
{
	wait_until $ready_s said_once "$1"
}

said_once()
{
	has_said client "$1"
}

reload()
{
	kill -s HUP "${pid_of[client]}"
}

answers()
{
	nbdinfo --size "nbd+unix:///disk?socket=$1" >/dev/null 2>&1
}

# A VMM that connects to vm1 and says what no VMM would; stays connected without a word in the end.
cat >"$tmp/hostile.py" <<'END'
import os, random, socket, struct, sys, time
random.seed(1)
print("begins", flush=True)
end = time.monotonic() + 2
while time.monotonic() < end:
    with socket.socket(socket.AF_UNIX) as vmm:
        vmm.settimeout(0.2)
        try:
            vmm.connect(sys.argv[1])
            for _ in range(20):
                size = random.choice((0, 4, 8, 12, 20, 40, 264, 268, 4000))
                vmm.sendall(struct.pack("=III", random.randrange(45), 1 | random.choice((0, 8)), size))
                vmm.sendall(os.urandom(random.choice((size, size, size // 2))))
        except OSError:
            pass
silent = socket.socket(socket.AF_UNIX)
silent.connect(sys.argv[1])
print("silent", flush=True)
time.sleep(60)
END

undisturbed()
{
	start hostile python3 "$tmp/hostile.py" "$tmp/vm1.sock"
	wait_until $ready_s grep -q begins "$tmp/hostile.log"
	load vm2 3 && wait_until $ready_s grep -q silent "$tmp/hostile.log"
}

# While vm2 works.
reload_under_load()
{
	start load timeout 60 "$build/bench/vuload" load "$tmp/vm2.sock" --pattern=mix --queues=2 --qd=8 --verify \
		--range=8M --time=2
	sleep 0.5
	reload
	wait_until 60 gone load && stop load
}

plan 19
truncate -s 16M "$tmp/disk"
serve nbdkit
touch "$tmp/vm4.sock"
{
	device vm1 "$uri"
	device vm2 "$uri" "num-queues = 2" "threads = 2" "serial = two"
	device vm3 "nbd+unix:///disk?socket=$tmp/later"
	device vm4 "$uri"
} >"$file"
start client "$build/vnbd-client" --config="$file"
ok "vm1 is served" told "^vnbd-client: vm1: listening on $tmp/vm1.sock\$"
ok "vm2 is served" told "^vnbd-client: vm2: listening on $tmp/vm2.sock\$"
ok "vm3's server is away" told '^vnbd-client: error: vm3: .*later: No such file or directory; trying again$'
ok "vm4's socket cannot be made" told '^vnbd-client: error: vm4: .*/vm4.sock: exists and is not a socket; trying again$'
ok "vm2 works beside a hostile VMM at vm1" undisturbed
start second "$build/bench/vuload" load "$tmp/vm1.sock" --pattern=randread --time=1 --timeout=30000
stop hostile KILL
ok "a second VMM at vm1 has waited for the first" eval 'wait_until 30 gone second && stop second'

start later nbdkit --foreground --unix "$tmp/later" file "$tmp/disk"
wait_until $ready_s answers "$tmp/later"
rm "$tmp/vm4.sock"
ok "vm3 begins when its server is there" told '^vnbd-client: vm3: listening'
ok "vm4 begins when its socket can be made" told '^vnbd-client: vm4: listening'

{
	device vm1 "$uri"
	device vm2 "$uri" "num-queues = 2" "threads = 1" "serial = two"
	device vm5 "$uri" "read-only = true"
} >"$file"
ok "the file is read again while vm2 works" reload_under_load
ok "vm3 has ended" told '^vnbd-client: vm3: ended$'
ok "its socket is gone" [ ! -e "$tmp/vm3.sock" ]
ok "vm2's change is told and not made" told '^vnbd-client: warning: vm2: changed in the file; it stays as it was'
ok "vm5 is served" told '^vnbd-client: vm5: listening'
ok "and works" timeout 60 "$build/bench/vuload" load "$tmp/vm5.sock" --pattern=randread --queues=2 --time=1

echo 'thread = 3' >>"$file"
reload
ok "a bad line is told by its place" told "^vnbd-client: error: $file:$(wc -l <"$file"): vm5: thread: no such key is known\$"
: >"$file"
reload
ok "so is an empty file" told "^vnbd-client: error: $file: no device is described in it\$"
ok "and all devices are there" load vm2 1
ok "the client ends cleanly" stop client
ok "and leaves no socket behind" bash -c "! ls '$tmp' | grep '^vm.*sock'"
