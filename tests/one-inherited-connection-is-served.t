#!/usr/bin/python3
# If this fails, inetd, a systemd unit with Accept=yes and every program that runs its own server (nbdsh, libnbd's
# nbd_connect_command) get no disk, a server that stays behind, or its log in the middle of the protocol.
import os
import signal
import socket
import subprocess
import time

import nbd

from nbd_raw import *
from rig import BUILD, READY_S, Rig, die_with_parent

SERVER = os.path.join(BUILD, "vnbd-server")
SIZE = 1 << 20


def pair():
    return socket.socketpair()


def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return client, listener.accept()[0]


class Single:
    """A server of one connection, and the connection."""

    def __init__(self, *arguments, ends=None, listen_fds=False, stdin=True):
        """listen_fds: as systemd does with Accept=yes; with stdin: and StandardInput=socket."""
        client, server = ends or pair()
        command = [SERVER, "--single", *arguments]
        if listen_fds:
            command = ["sh", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ LISTEN_FDNAMES=connection exec "$@"', "sh"] + command

        def prepare():
            die_with_parent()
            if listen_fds:
                os.dup2(server.fileno(), 3)

        self.process = subprocess.Popen(command, stdin=server if stdin else subprocess.DEVNULL,
                                        stdout=server if stdin else subprocess.PIPE, stderr=subprocess.PIPE,
                                        close_fds=not listen_fds, preexec_fn=prepare)
        server.close()
        self.connection = Connection(client)

    def end(self):
        """(exit status, what it logged)"""
        errors = self.process.communicate(timeout=READY_S)[1]
        return self.process.returncode, errors.decode()


with Rig() as rig:
    disk = rig.disk("disk", "1M", fill=True)
    content = open(disk, "rb").read()

    h = nbd.NBD()
    h.connect_command([SERVER, "--single", disk])
    rig.same("libnbd's connect_command reads", content[4096:8192], bytes(h.pread(4096, 4096)))
    h.pwrite(b"w" * 512, 0, nbd.CMD_FLAG_FUA)
    h.shutdown()
    content = b"w" * 512 + content[512:]
    rig.same("and writes", content, open(disk, "rb").read())

    for how, arguments in (("a socket pair", {}), ("TCP, as inetd has it", {"ends": tcp_pair()}),
                           ("systemd's Accept=yes", {"listen_fds": True, "stdin": False}),
                           ("Accept=yes with StandardInput=socket", {"listen_fds": True})):
        one = Single(disk, **arguments)
        c = one.connection
        c.go()
        if arguments.get("stdin", True):
            rig.same(f"{how}: nothing else can be written to it", ["/dev/null"] * 2,
                     [os.readlink(f"/proc/{one.process.pid}/fd/{fd}") for fd in (0, 1)])
        rig.same(f"{how}: reads", content[:SIZE], c.ask(CMD_READ, 0, SIZE).data)
        c.disconnect()
        rig.ok(f"{how}: the connection ends with NBD_CMD_DISC", c.closed())
        rig.same(f"{how}: and the server with it, without a word", (0, ""), one.end())
        c.close()

    one = Single(disk)
    one.connection.go()
    one.connection.close()
    rig.same("a client that hangs up ends the server", (0, ""), one.end())
    one = Single(disk)
    one.connection.greet()
    one.connection.close()
    rig.same("in the handshake as well", (0, ""), one.end())
    one = Single(disk)
    one.connection.greet()
    one.connection.option(OPT_ABORT)
    rig.same("so does one that ends the handshake in order", (0, ""), one.end())
    one = Single(disk)
    one.connection.greet()
    one.connection.send(b"x" * 64)
    rig.ok("one that talks nonsense is told from it in the log",
           one.end() == (0, "vnbd-server: warning: unix, pid %d, uid %d: an option without its magic number\n" % (
               os.getpid(), os.getuid())), one.end())
    one = Single(disk)
    one.connection.go()
    one.process.send_signal(signal.SIGTERM)
    rig.ok("SIGTERM ends it while the client is there", one.connection.closed())
    rig.same("with status 0", 0, one.end()[0])
    one = Single("--verbose", disk, ends=tcp_pair())
    one.connection.go()
    one.connection.disconnect()
    rig.ok("--verbose tells what it does", "disconnected" in one.end()[1])

    def refused(name, status, words, *arguments, stdin=subprocess.DEVNULL):
        result = subprocess.run([SERVER, "--single", *arguments], stdin=stdin, capture_output=True, text=True,
                                timeout=READY_S)
        rig.ok(name, result.returncode == status and words in result.stderr and not result.stdout, result)

    client, server = pair()
    refused("an export that is not there is an error", 1, "No such file", rig.path("none"), stdin=server)
    refused("no socket is one", 1, "error: standard input is not a connected stream socket", disk)
    refused("a socket without a peer is one", 1, "error: standard input is not a connected stream socket", disk,
            stdin=socket.socket())
    refused("a datagram socket is one", 1, "error: standard input is not a connected stream socket", disk,
            stdin=socket.socketpair(type=socket.SOCK_DGRAM)[0])
    refused("--listen has no place beside it", 2, "--single serves one connection", "--listen", "127.0.0.1:0", disk,
            stdin=server)
