#!/usr/bin/python3
# Where one of several connections is lost and cannot be made again, requests go on over the others.
# If this fails, a guest's disk stands still though its server answers, until the last of its connections is back.
import socket
import threading

from rig import Rig, wait_until
from vhost_user import P_INFLIGHT_SHMFD, Client, Guest

WRITES = 4


class Proxy(threading.Thread):
    """Passes on; when it is told to, cuts the first connection and takes no more."""

    def __init__(self, path, to):
        super().__init__(daemon=True)
        self.path, self.to, self.closed, self.pairs, self.refused = path, to, False, [], 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.start()

    def run(self):
        while True:
            client, _ = self.listener.accept()
            if self.closed:
                self.refused += 1
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self.to)
            self.pairs.append((client, server))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def copy(source, sink):
        try:
            while data := source.recv(1 << 18):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        self.closed = True
        for end in self.pairs[0]:
            end.shutdown(socket.SHUT_RDWR)


with Rig() as rig:
    server = rig.server("--export", "=" + rig.disk("disk", "1M"))
    proxy = Proxy(rig.path("proxy.sock"), server.path)
    client = Client(rig, rig.path("vm.sock"), f"nbd+unix:///?socket={proxy.path}", "--threads=1", "--connections=2")
    guest = Guest()
    guest.connect(client.path)
    guest.negotiate(P_INFLIGHT_SHMFD)
    guest.start(base=0)
    proxy.cut()
    rig.ok("a connection is lost, and cannot be made again", wait_until(lambda: proxy.refused > 1))
    for slot in range(WRITES):
        guest.write(slot, sector=8 * slot, byte=1)
        guest.kick()
        rig.ok(f"write {slot} is done", wait_until(lambda: guest.used() == slot + 1, 5), client.log())
    proxy.closed = False
    rig.ok("the connection comes back", wait_until(lambda: "connected again" in client.log()), client.log())
