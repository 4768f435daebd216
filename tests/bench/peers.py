"""The servers and vhost-user back-ends that the benchmark runs, and how each is started at its best.

Every start function takes a Place (where to run, where to listen) and returns a Peer that serves already, or raises
PeerMissing with the reason.
"""

import os
import shutil
import signal
import socket
import subprocess
import time

START_S = 5  # a peer that does not answer by then has failed


class PeerMissing(Exception):
    pass


class Peer:
    """One running process: pid, where it listens, and the address in each dialect."""

    def __init__(self, name, pid, address, process=None):
        self.name, self.pid, self.address, self.process = name, pid, address, process

    @property
    def uri(self):
        if self.address.startswith("unix:"):
            return "nbd+unix:///?socket=" + self.address[5:]
        return "nbd://" + self.address

    def stop(self):
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        deadline = time.monotonic() + START_S
        while alive(self) and time.monotonic() < deadline:
            time.sleep(0.02)
        if alive(self):
            os.kill(self.pid, signal.SIGKILL)
        if self.process:
            self.process.wait()


def alive(peer):
    if peer.process:
        return peer.process.poll() is None
    return os.path.exists(f"/proc/{peer.pid}")


class Place:
    """A run's folder, transport (tcp or unix) and CPU (None: the scheduler decides)."""

    def __init__(self, folder, build, image, transport, cpu):
        self.folder, self.build, self.image, self.transport, self.cpu = folder, build, image, transport, cpu

    def tool(self, name):
        return os.path.join(self.build, "bench", name)

    def path(self, name):
        return os.path.join(self.folder, name)

    def prefix(self):
        """Shares one CPU with the load, ahead of whatever else the machine does."""
        return [] if self.cpu is None else ["taskset", "-c", str(self.cpu), "nice", "-n", "-10"]

    def address(self, name):
        if self.transport == "unix":
            return "unix:" + self.path(name + ".nbd")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return "127.0.0.1:%d" % probe.getsockname()[1]

    def spawn(self, name, command, env=None):
        if not shutil.which(command[0]):
            raise PeerMissing(f"{command[0]} is not there")
        log = open(self.path(name + ".log"), "wb")
        return subprocess.Popen(self.prefix() + command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                env=dict(os.environ, **(env or {})))

    def wait(self, peer, ready):
        """Returns @peer once ready() is true."""
        deadline = time.monotonic() + START_S
        while not ready():
            if not alive(peer) or time.monotonic() > deadline:
                with open(self.path(peer.name + ".log"), errors="replace") as log:
                    last = log.read().strip().splitlines()[-1:] or ["it says nothing"]
                peer.stop()
                raise PeerMissing(f"{peer.name} did not start: {last[0]}")
            time.sleep(0.02)
        return peer

    def serves(self, peer):
        """Whether one read through @peer succeeds."""
        return subprocess.run([self.tool("nbdload"), "-c", peer.address, "-N", "1", "--timeout", "2"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def listens(self, path):
        """Whether @path is a socket somebody listens on."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except OSError:
                return False
        return True


# NBD servers --------------------------------------------------------------------------------------------------------

def server_command(name, place, address):
    """The command of server @name on @address, and what its environment needs."""
    host, _, port = address.rpartition(":")
    sock = address[5:] if address.startswith("unix:") else None
    if name == "vnbd-server":
        return [os.path.join(place.build, name), "--listen", address, "--export", "=" + place.image], {}
    if name.startswith("floor"):
        return [place.tool("nbdfloor")] + (["-u", sock] if sock else ["-t", port]) + ["-f", place.image], {}
    if name == "nbdkit":
        return ["nbdkit", "-f"] + (["-U", sock] if sock else ["-i", host, "-p", port]) + ["file", place.image], {}
    if name == "qemu-nbd":
        where = ["-k", sock] if sock else ["-b", host, "-p", port]
        return (["qemu-nbd", "-t", "-e", "8", "-f", "raw", "--discard=unmap", "--cache=writeback", "--aio=io_uring"] +
                where + [place.image]), {"LD_PRELOAD": os.path.abspath(place.tool("nodelay.so"))}
    raise PeerMissing(f"no such server: {name}")


def start_nbd_server(place, address):
    """nbd-server -d ends after its first client, so it has to daemonize: its pid is in a file."""
    config, pid_file = place.path("nbd-server.conf"), place.path("nbd-server.pid")
    where = f"unixsock = {address[5:]}" if address.startswith("unix:") else \
        "listenaddr = {}\nport = {}".format(*address.rsplit(":", 1))
    with open(config, "w") as out:
        out.write(f"[generic]\nallowlist = false\n{where}\n[disk]\nexportname = {place.image}\n"
                  "flush = true\nfua = true\n")
    if os.path.exists(pid_file):
        os.unlink(pid_file)
    place.spawn("nbd-server", ["nbd-server", "-C", config, "-p", pid_file]).wait()
    deadline = time.monotonic() + START_S
    while not (os.path.exists(pid_file) and os.path.getsize(pid_file)):
        if time.monotonic() > deadline:
            raise PeerMissing("nbd-server did not start")
        time.sleep(0.02)
    with open(pid_file) as pid:
        return Peer("nbd-server", int(pid.read()), address)


EXPORT = {"nbd-server": "disk"}  # the others serve the default export, ""


def start_server(name, place):
    address = place.address(name)
    if name == "nbd-server":
        peer = start_nbd_server(place, address)
        time.sleep(0.1)
        return peer
    command, env = server_command(name, place, address)
    process = place.spawn(name, command, env)
    peer = Peer(name, process.pid, address, process)
    return place.wait(peer, lambda: place.serves(peer))


# vhost-user-blk back-ends in front of an NBD server -----------------------------------------------------------------

def bridge_command(name, place, server, path):
    host, _, port = server.address.rpartition(":")
    sock = server.address[5:] if server.address.startswith("unix:") else None
    if name == "vnbd-client":
        return [os.path.join(place.build, name), "--socket-path=" + path, "--num-queues=2", server.uri]
    if name == "vumock":
        return [place.tool("vumock"), path, server.address if sock else "tcp:" + server.address]
    if name == "qemu-storage-daemon":
        where = f"server.type=unix,server.path={sock}" if sock else \
            f"server.type=inet,server.host={host},server.port={port}"
        return ["qemu-storage-daemon", "--object", "iothread,id=io0", "--blockdev", f"driver=nbd,node-name=n0,{where}",
                "--export", f"type=vhost-user-blk,id=e0,node-name=n0,addr.type=unix,addr.path={path},writable=on,"
                            "num-queues=2,iothread=io0"]
    raise PeerMissing(f"no such back-end: {name}")


def start_bridge(name, place, server):
    label = f"{name}-{server.name}"
    path = place.path(label + ".vu")
    process = place.spawn(label, bridge_command(name, place, server, path))
    peer = Peer(label, process.pid, path, process)
    # qemu-storage-daemon serves one connection at a time: the socket's file is all that may be looked at
    return place.wait(peer, lambda: os.path.exists(path))
