#!/usr/bin/python3
# If this fails, a client that asks for a long list again and again, all at once, keeps everybody else from connecting; or one
# that asks about each export of a long list is taken for it.
import os
import subprocess
import threading
import time

from nbd_raw import *
from rig import Rig

FILES = 2100
LISTS = 1000


def make_files(rig):
    folder = rig.path("many")
    os.mkdir(folder)
    for number in range(FILES):
        with open(os.path.join(folder, f"disk-of-somebody-{number:05}"), "wb") as file:
            file.truncate(4096)
    return folder


class Lister(threading.Thread):
    """Asks for LISTS lists in one go, and takes what comes."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.connection = Connection(server.address)
        self.connection.greet()
        self.taken = 0
        self.start()

    def run(self):
        self.connection.send(option_bytes(OPT_LIST) * LISTS)
        room = bytearray(1 << 20)
        try:
            while got := self.connection.socket.recv_into(room):
                self.taken += got
        except OSError:
            pass


def length_of_list(server):
    with Connection(server.address) as connection:
        connection.greet()
        replies = connection.option(OPT_LIST)
        assert len(replies) == FILES + 1
        return sum(20 + len(reply.data) for reply in replies)


with Rig() as rig:
    server = rig.server("--export-dir", make_files(rig))
    length = length_of_list(server)
    lister = Lister(server)
    waited = []
    for _ in range(5):
        while lister.is_alive() and lister.taken < (waited[-1][1] if waited else 0) + 2 * length:
            time.sleep(0.001)
        before = lister.taken
        with Connection(server.address) as other:
            other.greet()
            other.option(OPT_ABORT)
            waited.append(((lister.taken - before) / length, lister.taken))
    rig.ok("who connects meanwhile waits for a few lists, not for all", lister.is_alive() and min(waited)[0] < 20,
           [f"{lists:.1f} lists" for lists, _ in waited])
    lister.connection.close()

    listing = subprocess.run(["qemu-nbd", "--list", "--socket", server.address], capture_output=True, text=True)
    rig.same("qemu-nbd --list asks twice for each of many exports, and is told", (0, FILES),
             (listing.returncode, listing.stdout.count("size:  4096")))
