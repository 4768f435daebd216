#!/usr/bin/python3
# systemd hears when the server is ready, that it is alive as often as it wants to, and when it ends.  If this fails, a unit with
# WatchdogSec= kills a healthy server again and again, or one that waits for readiness never starts.
import os
import signal
import socket
import subprocess
import time

from rig import BUILD, READY_S, Rig, die_with_parent

WATCHDOG_US = 200000


def start(rig, name, **environment):
    """A server that is told where systemd listens, and our end of that."""
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(rig.path(name))
    notify.settimeout(READY_S)
    process = subprocess.Popen([os.path.join(BUILD, "vnbd-server"), "--listen", "unix:" + rig.path(name + ".nbd"),
                                "--export", "=memory:1M"],
                               env={**os.environ, "NOTIFY_SOCKET": rig.path(name), **environment}, stdin=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
    return process, notify


def has_library(pid):
    with open(f"/proc/{pid}/maps") as maps:
        return "libsystemd" in maps.read()


def words(notify, count):
    return [notify.recv(4096).decode().strip() for _ in range(count)]


with Rig() as rig:
    begun = time.monotonic()  # before it can begin, so that nothing we are late for makes it look quicker
    watched, notify = start(rig, "watched", WATCHDOG_USEC=str(WATCHDOG_US))
    plain, quiet = start(rig, "plain")
    try:
        rig.same("it is ready", ["READY=1"], words(notify, 1))
        rig.same("it is alive", ["WATCHDOG=1"] * 10, words(notify, 10))
        took = time.monotonic() - begun
        rig.ok("as often as systemd wants it, but no more than twice that", took > 10 * WATCHDOG_US / 2e6 * 0.8, f"{took} s")
        watched.terminate()
        said = words(notify, 1)
        while said[-1] == "WATCHDOG=1":
            said += words(notify, 1)
        rig.same("it ends", "STOPPING=1", said[-1])
        rig.same("in good order", 0, watched.wait(READY_S))
        rig.same("where nobody watches", ["READY=1"], words(quiet, 1))
        rig.ok("libsystemd is loaded for that", has_library(plain.pid))
        server = rig.server("--export", "=memory:1M")
        rig.ok("and not where it is not asked for: it takes time", not has_library(server.pid))
        plain.terminate()
        rig.same("there is nothing in between", ["STOPPING=1"], words(quiet, 1))
        rig.same("before the end", 0, plain.wait(READY_S))
    finally:
        for process in (watched, plain):
            if process.poll() is None:
                process.kill()
            process.wait()
