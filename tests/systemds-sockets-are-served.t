#!/usr/bin/python3
# If this fails, a server that systemd starts on demand, or that nbdinfo and nbdcopy start for themselves, does not answer,
# answers somewhere else, or takes away the socket that its successor would have been given.
import os
import shutil
import signal
import socket
import subprocess

from nbd_raw import *
from rig import BUILD, READY_S, Rig, die_with_parent, skip_all, wait_until

SERVER = os.path.join(BUILD, "vnbd-server")
ACTIVATE = shutil.which("systemd-socket-activate")
if not ACTIVATE:
    skip_all("systemd-socket-activate is not installed")


def listener(family, address, kind=socket.SOCK_STREAM):
    s = socket.socket(family, kind)
    s.bind(address)
    if kind == socket.SOCK_STREAM:
        s.listen()
    return s


class Activated:
    """A server that got @files as descriptors 3 and on, as sd_listen_fds(3) says."""

    def __init__(self, rig, files, *arguments, names=None, pid="$$", count=None):
        self.log_path = rig.path("activated.log")
        environment = f"LISTEN_PID={pid} LISTEN_FDS={len(files) if count is None else count}"
        if names:
            environment += f" LISTEN_FDNAMES={':'.join(names)}"
        numbers = [f.fileno() for f in files]

        def prepare():
            die_with_parent()
            moved = [os.dup2(number, 100 + i) for i, number in enumerate(numbers)]
            for i, number in enumerate(moved):
                os.dup2(number, 3 + i)
                os.close(number)

        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(["sh", "-c", environment + ' exec "$@"', "sh", SERVER, *arguments],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=False,
                                            preexec_fn=prepare)

    def log(self):
        return open(self.log_path).read()

    def ready(self, lines):
        return wait_until(lambda: self.log().count("listening on") == lines)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(READY_S)


with Rig() as rig:
    disk = rig.disk("disk", "1M", fill=True)

    def serves(address):
        with Connection(address) as c:
            return c.go()[0] == 1 << 20

    path = rig.path("unix")
    four, six = listener(socket.AF_INET, ("127.0.0.1", 0)), listener(socket.AF_INET6, ("::1", 0))
    abstract = f"\0vnbd-test-{os.getpid()}"
    sockets = [four, six, listener(socket.AF_UNIX, path), listener(socket.AF_UNIX, abstract)]
    # One that connects before the server runs, as the client that makes systemd start it.
    early = Connection(four.getsockname())
    server = Activated(rig, sockets, disk, "--listen", "unix:" + rig.path("own"))
    rig.ok("tells of every socket it was given, and of --listen", server.ready(5), server.log())
    rig.same("a client that was there first is served", 1 << 20, early.go()[0])
    rig.ok("TCP over IPv4", serves(four.getsockname()))
    rig.ok("TCP over IPv6", serves(socket.create_connection(six.getsockname()[:2])))
    rig.ok("a Unix socket", serves(path))
    rig.ok("one in the abstract namespace", serves(abstract) and "listening on unix:@vnbd-test-" in server.log())
    rig.ok("and its own", serves(rig.path("own")))
    early.close()
    rig.same("it ends as it should", 0, server.end())
    rig.ok("and leaves the socket that it was given", os.path.exists(path))
    rig.ok("but not its own", not os.path.exists(rig.path("own")))
    server = Activated(rig, sockets, disk)
    rig.ok("without --listen it listens nowhere else", server.ready(4) and serves(path), server.log())
    server.process.kill()
    server.process.wait()
    server = Activated(rig, sockets, disk)
    rig.ok("a successor takes the same sockets", server.ready(4) and serves(path), server.log())
    server.end()

    def refused(name, words, files, **how):
        server = Activated(rig, files, disk, "--listen", "unix:" + rig.path("own"), **how)
        status = server.process.wait(READY_S)
        rig.ok(name, status == 1 and "error: " + words in server.log(), status, server.log())

    with open(disk) as file:
        refused("a file is refused by its name", "inherited socket 'nbd', descriptor 4: is not a socket", [four, file],
                names=["a", "nbd"])
    refused("a datagram socket is", "inherited socket 'unknown', descriptor 3: is not a stream socket",
            [listener(socket.AF_INET, ("127.0.0.1", 0), socket.SOCK_DGRAM)])
    refused("a netlink socket is", "inherited socket 'unknown', descriptor 3: is a socket of a family that is not served",
            [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)])
    refused("a connection is", "inherited socket 'unknown', descriptor 3: is a connection, which is for --single",
            [socket.socketpair()[0]])
    refused("one that does not listen is", "inherited socket 'unknown', descriptor 3: does not listen", [socket.socket()])
    refused("a number that is none is an error", "LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES: Invalid argument", [four],
            count="x")
    server = Activated(rig, [four], disk, "--listen", "unix:" + rig.path("own"), pid=1)
    rig.ok("what is meant for another process is not touched", server.ready(1) and "nbd://" not in server.log(),
           server.log())
    server.end()

    # The real ones.
    with open(rig.path("activate.log"), "wb") as log:
        process = subprocess.Popen([ACTIVATE, "-l", rig.path("activate"), "--fdname=nbd", SERVER, disk], stderr=log,
                                   preexec_fn=die_with_parent)
    wait_until(lambda: os.path.exists(rig.path("activate")))
    rig.ok("systemd-socket-activate starts it for a client", serves(rig.path("activate")), open(log.name).read())
    process.terminate()
    rig.same("and it ends as it should", 0, process.wait(READY_S))

    def output(*command):
        result = subprocess.run(command, capture_output=True, text=True, timeout=READY_S)
        return (result.returncode, result.stdout.strip()) if result.returncode == 0 else result

    rig.same("nbdinfo runs it", (0, str(1 << 20)), output("nbdinfo", "--size", "--", "[", SERVER, disk, "]"))
    rig.same("nbdcopy runs it", (0, ""), output("nbdcopy", "--", "[", SERVER, disk, "]", rig.path("copy")))
    rig.ok("and copies", open(disk, "rb").read() == open(rig.path("copy"), "rb").read())
