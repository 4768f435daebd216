"""The servers and vhost-user back-ends that the benchmark runs, and how each is started at its best.

Every start function takes a Place (where to run, where to listen) and returns a Peer that serves already, or raises
PeerMissing with the reason.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time

CONNECTIONS = 4096
AHEAD = -10  # niceness
START_S = 5  # a peer that does not answer by then has failed


class PeerMissing(Exception):
    pass


class Peer:
    """One running process: pid, where it listens, and the address in each dialect."""

    def __init__(self, name, pid, address, process=None, export=""):
        self.name, self.pid, self.address, self.process, self.export = name, pid, address, process, export

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

    def psk(self):
        """A file with the key of user "bench"; in a folder of its own and of this name, as qemu-nbd wants it."""
        path = os.path.join(self.path("psk"), "keys.psk")
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path))
            with open(path, "w") as keys:
                keys.write("bench:" + os.urandom(32).hex() + "\n")
        return path

    @contextlib.contextmanager
    def ahead(self):
        """What is started meanwhile shares one CPU with the load, ahead of whatever else the machine does. It inherits
        that, rather than from taskset and nice, whose own start would count as its."""
        if self.cpu is None:
            yield
            return
        cpus, niceness = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
        os.sched_setaffinity(0, {self.cpu})
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, AHEAD)
        try:
            yield
        finally:
            os.setpriority(os.PRIO_PROCESS, 0, niceness)
            os.sched_setaffinity(0, cpus)

    def run(self, command):
        with self.ahead():
            return subprocess.run(command, capture_output=True, text=True)

    def address(self, name):
        if self.transport == "unix":
            path = self.path(name + ".nbd")
            if os.path.exists(path):  # of one that has ended: not every server replaces it
                os.unlink(path)
            return "unix:" + path
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return "127.0.0.1:%d" % probe.getsockname()[1]

    def spawn(self, name, command, env=None):
        if not shutil.which(command[0]):
            raise PeerMissing(f"{command[0]} is not there")
        log = open(self.path(name + ".log"), "wb")
        with self.ahead():
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                    env=dict(os.environ, **(env or {})))

    def wait(self, peer, ready, log_name=None):
        """Returns @peer once ready() is true; where it ends instead, the reason is in its log."""
        deadline = time.monotonic() + START_S
        while not ready():
            if not alive(peer) or time.monotonic() > deadline:
                with open(self.path((log_name or peer.name) + ".log"), errors="replace") as log:
                    last = log.read().strip().splitlines()[-1:] or ["it says nothing"]
                peer.stop()
                raise PeerMissing(f"{peer.name} did not start: {last[0]}")
            time.sleep(0.02)
        return peer

    def serves(self, peer):
        """Whether one read through @peer succeeds."""
        return subprocess.run([self.tool("nbdload"), "-c", peer.address, "-N", "1", "--timeout", "2"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def listens(self, peer):
        """Whether @peer accepts connections."""
        unix = peer.address.startswith("unix:")
        host, _, port = peer.address.rpartition(":")
        with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as probe:
            try:
                probe.connect(peer.address[5:] if unix else (host, int(port)))
            except OSError:
                return False
        return True


# NBD servers --------------------------------------------------------------------------------------------------------

PLAIN, DIRECT, TLS = "plain", "direct", "tls"  # modes of a server: page cache; around it; page cache and TLS


def vnbd_server(place, address, mode):
    keys = ["--tls=on", "--tls-psk=" + place.psk()] if mode == TLS else []
    cache = ",cache=none" if mode == DIRECT else ""
    # Its default leaves half of its 1024 connections to other addresses, which a benchmark has not.
    many = ["--connections", str(CONNECTIONS), "--connections-per-address", str(CONNECTIONS)]
    return [os.path.join(place.build, "vnbd-server"), "--listen", address, "--export",
            "=" + place.image + cache] + many + keys, {}


def floor(place, address, mode):
    if mode != PLAIN:
        raise PeerMissing("has one mode")
    where = ["-u", address[5:]] if address.startswith("unix:") else ["-t", address.rpartition(":")[2]]
    return [place.tool("nbdfloor")] + where + ["-f", place.image], {}


def no_disk(place, address, _):
    """What network and protocol cost."""
    command, env = floor(place, address, PLAIN)
    return command[:-2] + ["-s", str(os.path.getsize(place.image))], env


def nbdkit(place, address, mode):
    host, _, port = address.rpartition(":")
    where = ["-U", address[5:]] if address.startswith("unix:") else ["-i", host, "-p", port]
    keys = ["--tls=on", "--tls-psk=" + place.psk()] if mode == TLS else []
    if mode == DIRECT:
        raise PeerMissing("has no O_DIRECT")
    return ["nbdkit", "-f"] + where + keys + ["file", place.image], {}


def qemu_nbd(place, address, mode):
    host, _, port = address.rpartition(":")
    where = ["-k", address[5:]] if address.startswith("unix:") else ["-b", host, "-p", port]
    keys = ["--object", "tls-creds-psk,id=keys,endpoint=server,dir=" + os.path.dirname(place.psk()),
            "--tls-creds", "keys"] if mode == TLS else []
    # locking=off: the other servers, which have the image open too, exclude it otherwise
    image = f"driver=raw,file.driver=file,file.locking=off,file.discard=unmap,file.filename={place.image}," + \
        ("file.aio=native,file.cache.direct=on" if mode == DIRECT else "file.aio=io_uring")
    return (["qemu-nbd", "-t", "-e", "4096"] + keys + ["--image-opts"] + where + [image],
            {"LD_PRELOAD": os.path.abspath(place.tool("nodelay.so"))})


SERVER_COMMANDS = {"vnbd-server": vnbd_server, "nbdkit": nbdkit, "qemu-nbd": qemu_nbd, "floor": floor,
                   "no disk": no_disk}


def launch_nbd_server(place, address, exports=("disk",)):
    """nbd-server -d ends after its first client, so it has to daemonize: its pid is in a file."""
    config, pid_file = place.path("nbd-server.conf"), place.path("nbd-server.pid")
    where = f"unixsock = {address[5:]}" if address.startswith("unix:") else \
        "listenaddr = {}\nport = {}".format(*address.rsplit(":", 1))
    with open(config, "w") as out:
        out.write(f"[generic]\nallowlist = false\n{where}\n")
        for name in exports:
            out.write(f"[{name}]\nexportname = {place.image}\nflush = true\nfua = true\n")
    if os.path.exists(pid_file):
        os.unlink(pid_file)
    place.spawn("nbd-server", ["nbd-server", "-C", config, "-p", pid_file]).wait()
    deadline = time.monotonic() + START_S
    while not (os.path.exists(pid_file) and os.path.getsize(pid_file)):
        if time.monotonic() > deadline:
            raise PeerMissing("nbd-server did not start")
        time.sleep(0.0005)
    with open(pid_file) as pid:
        return Peer("nbd-server", int(pid.read()), address, export="disk")


def launch_server(name, place, address, mode=PLAIN):
    """Started, and perhaps not serving yet."""
    if name == "nbd-server":
        if mode != PLAIN:
            raise PeerMissing("nbd-server: page cache and no TLS only")
        return launch_nbd_server(place, address)
    command, env = SERVER_COMMANDS[name](place, address, mode)
    process = place.spawn(f"{name}-{mode}", command, env)
    return Peer(name, process.pid, address, process)


def start_server(name, place, mode=PLAIN):
    peer = launch_server(name, place, place.address(f"{name}-{mode}"), mode)
    if name == "nbd-server":
        time.sleep(0.1)
        return peer
    ready = place.listens if mode == TLS else place.serves
    return place.wait(peer, lambda: ready(peer), f"{name}-{mode}")


def start_exports(name, place, count):
    """A server with @count exports of the image."""
    address, exports = place.address("exports"), [f"disk{i}" for i in range(count)]
    if name == "nbd-server":
        peer = launch_nbd_server(place, address, exports)
        time.sleep(0.1)
        return peer
    command = [os.path.join(place.build, name), "--listen", address]
    for export in exports:
        command += ["--export", f"{export}={place.image},readonly"]
    process = place.spawn("exports", command)
    peer = Peer("exports", process.pid, address, process)
    return place.wait(peer, lambda: place.listens(peer))


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
    peer = Peer(name, process.pid, path, process)
    # qemu-storage-daemon serves one connection at a time: the socket's file is all that may be looked at
    return place.wait(peer, lambda: os.path.exists(path), label)
