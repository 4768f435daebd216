#!/usr/bin/python3
# If this fails, one client that opens connections without end, or that says nothing, keeps everybody else from their
# disks, or stops the server for good.
import os
import re
import resource
import socket
import subprocess
import time

from nbd_raw import *
from rig import Rig, wait_until


def cpu_s(server):
    with open(f"/proc/{server.pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def keepalive_only(port):
    """Whether all connections of the server have a timer of less than a minute, for a client that says nothing."""
    lines = subprocess.run(["ss", "-Hton", "state", "established", f"( sport = :{port} )"], capture_output=True,
                           text=True).stdout.splitlines()
    return lines and all(re.search(r"timer:\(keepalive,(1min|[0-9.]+sec)", line) for line in lines)


def connect(address, source=None):
    """In transmission; None: refused."""
    if source:
        address = socket.create_connection(address, TIMEOUT_S, (source, 0))
    c = Connection(address)
    try:
        c.go()
    except (Closed, BrokenPipeError):
        c.close()
        return None
    return c


def works(c):
    return c.ask(CMD_READ, 0, 4096).data == bytes(4096)


with Rig() as rig:
    disk = "=" + rig.disk("disk", "1M")

    server = rig.server("--connections", "5", "--connections-per-address", "5", "--export", disk)
    held = [connect(server.address) for _ in range(4)]
    greeted = Connection(server.address)
    greeted.greet()
    rig.ok("--connections: one more is closed at once", not connect(server.address))
    rig.ok("with a word in the log", re.search("warning: unix, pid .*: refused: there are as many connections as are "
                                               "allowed", server.log()), server.log())
    for _ in range(100):
        connect(server.address)
    lines = server.log().count("refused")
    rig.ok("or a few, however often", lines <= 30, f"{lines} lines")
    rig.ok("the others go on", all(map(works, held)))
    greeted.option(OPT_ABORT)
    rig.ok("a place that one left in the handshake is free", wait_until(lambda: connect(server.address)))
    held.pop().disconnect()
    rig.ok("so is one that it left afterwards", wait_until(lambda: connect(server.address)))
    for c in held:
        c.close()
    server.stop()

    server = rig.server("--connections", "8", "--listen", "127.0.0.1:0", "--export", disk)
    tcp = ("127.0.0.1", server.ports()[0])
    held = [connect(tcp, "127.0.0.1") for _ in range(4)]
    rig.ok("one address has half of them", all(held) and not connect(tcp, "127.0.0.1"))
    rig.ok("and hears of it", re.search(r"127\.0\.0\.1:\d+: refused: there are as many connections as one address may "
                                        "have", server.log()), server.log())
    others = [connect(tcp, "127.0.0.2"), connect(server.address)]
    rig.ok("another one, and a Unix socket's user, have theirs", all(others) and all(map(works, others)))
    held.pop().close()
    rig.ok("what it gives up it gets again", wait_until(lambda: connect(tcp, "127.0.0.1")))
    rig.ok("the others go on", all(map(works, held + others)))

    # Those of replies come first, until these are acknowledged.
    rig.ok("the kernel looks after idle clients, from 60 seconds on", wait_until(lambda: keepalive_only(tcp[1])))
    server.stop()

    server = rig.server("--handshake-timeout", "1", "--export", disk)
    idle = connect(server.address)
    silent, dribbling = Connection(server.address), Connection(server.address)
    start = time.monotonic()
    message = b"\0\0\0\3" + option_bytes(OPT_LIST) * 1000
    sent = 0
    try:
        while sent < len(message) and time.monotonic() < start + TIMEOUT_S:
            dribbling.send(message[sent:sent + 1])
            sent += 1
            time.sleep(0.02)
    except (BrokenPipeError, ConnectionResetError):
        pass
    took = time.monotonic() - start
    rig.ok("--handshake-timeout: one that sends a byte now and then is closed", 0.9 < took < 15, f"after {took:.1f} s")
    silent.receive(18)
    rig.ok("one that sends nothing is closed", silent.closed())
    rig.ok("with a word in the log", "the handshake took too long" in server.log())
    rig.ok("one that has chosen its export may be silent", works(idle))
    server.stop()

    # Descriptors.
    server = rig.server("--verbose", "--export", disk)
    one = connect(server.address)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (server.descriptors() + 10,) * 2)
    many = [Connection(server.address) for _ in range(30)]
    said = "accept: Too many open files"
    rig.ok("without descriptors, the log says so", wait_until(lambda: said in server.log()), server.log())
    before = cpu_s(server)
    time.sleep(1)
    spent = cpu_s(server) - before
    rig.ok("it does not spin", spent < 0.1, f"{spent:.2f} s of CPU time in one second")
    rig.same("and does not say so again and again", 1, server.log().count(said))
    rig.ok("those that are there go on", works(one))
    for c in many[:20]:
        c.close()
    sizes = []
    for c in many[20:]:
        sizes.append(c.go()[0])
    rig.same("those that waited are served as soon as there are some", [1 << 20] * 10, sizes)
    rig.same("it ends as it should", 0, server.stop())

    server = rig.server("--connections", "60000", "--connections-per-address", "60000", "--export", disk)
    wanted = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[1]
    rig.ok("more connections than descriptors is worth a warning",
           wanted > 60064 or f"connections are limited by the {wanted} descriptors" in server.log(), server.log())
