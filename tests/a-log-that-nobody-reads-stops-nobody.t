#!/usr/bin/python3
# A server whose log is not read (a pager, a journal that hangs, a program that forgot its child's pipe) serves on, and says
# afterwards how many lines are missing.  If this fails, every disk stops because somebody has stopped scrolling.
import fcntl
import os
import re
import subprocess

from nbd_raw import *
from rig import BUILD, READY_S, Rig, die_with_parent, wait_until

F_SETPIPE_SZ = 1031
CONNECTIONS = 300  # two lines each: more than the pipe takes


def serve(rig, *arguments):
    """A server with a log that takes little, and our end of it."""
    ours, its = os.pipe()
    fcntl.fcntl(its, F_SETPIPE_SZ, 16384)
    os.set_blocking(ours, False)
    process = subprocess.Popen([os.path.join(BUILD, "vnbd-server"), "--listen", "unix:" + rig.path("nbd"), *arguments],
                               stdin=subprocess.DEVNULL, stderr=its, preexec_fn=die_with_parent)
    os.close(its)
    return process, ours


def read_on(log):
    """What is there now."""
    try:
        return os.read(log, 1 << 16).decode()
    except BlockingIOError:
        return ""


def connect(rig):
    with Connection(rig.path("nbd")) as connection:
        connection.go()
        reply = connection.ask(CMD_READ, 0, 512)
        connection.disconnect()
        return reply.error


with Rig() as rig:
    server, log = serve(rig, "--verbose", "--workers", "1", "--export", "=" + rig.disk("disk", "1M"))
    try:
        rig.ok("the server starts", wait_until(lambda: "listening on" in read_on(log)))
        rig.same("everybody is served", [0] * CONNECTIONS, [connect(rig) for _ in range(CONNECTIONS)])
        said = read_on(log)
        rig.ok("the log has what it had room for", "connection 1\n" in said and said.endswith("\n"), said)
        connect(rig)
        said = read_on(log)
        missing = re.search(r"warning: (\d+) lines are missing here: nobody read the log\n", said)
        rig.ok("and the number of what is missing", missing and int(missing[1]) > 10, said)
        rig.ok("then it goes on", missing and said.startswith("vnbd-server: " + missing[0]) and said.count("\n") > 1, said)
        server.terminate()
        rig.same("the server ends as ever", 0, server.wait(READY_S))
    finally:
        if server.poll() is None:
            server.kill()
        server.wait()
