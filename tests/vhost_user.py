"""A VMM and its guest's driver, one of them and in Python: what a vhost-user back-end does for a split ring of one queue.

    client = Client(rig, rig.path("vm.sock"), server.uri())
    guest = Guest()
    guest.connect(client.path)
    guest.start()
    guest.write(0, sector=8, byte=7)
    guest.kick()

The memory outlives connections, as a virtual machine's does. Spec: QEMU, docs/interop/vhost-user.rst.
"""

import array
import mmap
import os
import socket
import struct
import subprocess

from rig import BUILD, READY_S, die_with_parent, wait_until

SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 2, 3, 5
GET_FEATURES = 1
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL = 8, 9, 10, 11, 12, 13
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, SET_VRING_ENABLE = 15, 16, 18
GET_INFLIGHT_FD, SET_INFLIGHT_FD = 31, 32

F_VERSION_1, F_PROTOCOL_FEATURES = 1 << 32, 1 << 30
F_BLK_FLUSH = 1 << 9
P_INFLIGHT_SHMFD, P_GET_VRING_BASE_INFLIGHT = 1 << 12, 1 << 20

VERSION, REPLY = 1, 1 << 2
RING = 16
SECTOR, BLOCK = 512, 4096
USER = 0x7f0000000000
BYTES = 1 << 20
DESC, AVAIL, USED, REQUESTS, REQUEST_BYTES = 0, 0x1000, 0x2000, 0x10000, 0x2000
DESC_NEXT, DESC_WRITE = 1, 2
T_OUT = 1
UNTOUCHED = 0xff


class Client:
    """A running vnbd-client, which the rig ends with the test."""

    def __init__(self, rig, path, uri, *arguments):
        self.path, self.log_path = path, path + ".log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([os.path.join(BUILD, "vnbd-client"), "--socket-path=" + path, *arguments,
                                             uri], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=die_with_parent)
        rig.servers.append(self)
        if not wait_until(lambda: "listening on" in self.log() or self.process.poll() is not None) or self.gone():
            raise RuntimeError("vnbd-client does not start:\n" + self.log())

    def gone(self):
        return self.process.poll() is not None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()


class Guest:
    def __init__(self):
        self.fd = os.memfd_create("guest")
        os.ftruncate(self.fd, BYTES)
        self.memory = mmap.mmap(self.fd, BYTES)
        self.kick_fd, self.call_fd = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)
        self.socket = None

    # -- messages

    def connect(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(READY_S)
        self.socket.connect(path)

    def send(self, request, payload=b"", fds=()):
        message = struct.pack("=III", request, VERSION, len(payload)) + payload
        self.socket.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])

    def receive(self, request, seconds=READY_S):
        """Payload and descriptors; TimeoutError: no reply yet."""
        self.socket.settimeout(seconds)
        header, fds, _, _ = socket.recv_fds(self.socket, 12, 8)
        if not header:
            raise ConnectionError("the back-end has closed the connection")
        got, flags, size = struct.unpack("=III", header)
        assert (got, flags) == (request, VERSION | REPLY), (got, flags)
        return (self.socket.recv(size, socket.MSG_WAITALL) if size else b""), fds

    def get_u64(self, request):
        self.send(request)
        return struct.unpack("=Q", self.receive(request)[0])[0]

    def set_u64(self, request, value, fds=()):
        self.send(request, struct.pack("=Q", value), fds)

    def set_state(self, request, number):
        self.send(request, struct.pack("=II", 0, number))

    # -- life of the device

    def negotiate(self, protocol, features=0):
        """@features: without F_BLK_FLUSH every write is stable before it is done."""
        assert self.get_u64(GET_FEATURES) & F_PROTOCOL_FEATURES
        assert not protocol & ~self.get_u64(GET_PROTOCOL_FEATURES)
        self.set_u64(SET_PROTOCOL_FEATURES, protocol)
        self.send(SET_OWNER)
        self.set_u64(SET_FEATURES, F_VERSION_1 | F_PROTOCOL_FEATURES | features)

    def get_record(self):
        """A new record of what is in flight: what keep_record() takes."""
        self.send(GET_INFLIGHT_FD, struct.pack("=QQHH", 0, 0, 1, RING))
        payload, fds = self.receive(GET_INFLIGHT_FD)
        return payload, fds[0]

    def keep_record(self, record):
        self.send(SET_INFLIGHT_FD, record[0], [record[1]])

    def start(self, base):
        self.send(SET_MEM_TABLE, struct.pack("=IIQQQQ", 1, 0, 0, BYTES, USER, 0), [self.fd])
        self.set_state(SET_VRING_NUM, RING)
        self.set_state(SET_VRING_BASE, base)
        self.send(SET_VRING_ADDR, struct.pack("=IIQQQQ", 0, 0, USER + DESC, USER + USED, USER + AVAIL, 0))
        self.set_u64(SET_VRING_CALL, 0, [self.call_fd])
        self.set_u64(SET_VRING_KICK, 0, [self.kick_fd])
        self.set_state(SET_VRING_ENABLE, 1)

    def ask_base(self):
        self.set_state(GET_VRING_BASE, 0)

    def base(self, seconds=READY_S):
        return struct.unpack("=II", self.receive(GET_VRING_BASE, seconds)[0])[1]

    # -- the driver

    def write(self, slot, sector, byte):
        """Offers a write of BLOCK bytes; at most one at a time in each of five slots."""
        at, head = REQUESTS + slot * REQUEST_BYTES, 3 * slot
        self.memory[at:at + 16] = struct.pack("<IIQ", T_OUT, 0, sector)
        self.memory[at + SECTOR] = UNTOUCHED
        self.memory[at + BLOCK:at + 2 * BLOCK] = bytes([byte]) * BLOCK
        for i, (where, length, flags) in enumerate([(at, 16, DESC_NEXT), (at + BLOCK, BLOCK, DESC_NEXT),
                                                    (at + SECTOR, 1, DESC_WRITE)]):
            struct.pack_into("<QIHH", self.memory, DESC + 16 * (head + i), where, length, flags, head + i + 1)
        index, = struct.unpack_from("<H", self.memory, AVAIL + 2)
        struct.pack_into("<H", self.memory, AVAIL + 4 + 2 * (index % RING), head)
        struct.pack_into("<H", self.memory, AVAIL + 2, (index + 1) & 0xffff)

    def kick(self):
        os.eventfd_write(self.kick_fd, 1)

    def used(self):
        return struct.unpack_from("<H", self.memory, USED + 2)[0]

    def status(self, slot):
        return self.memory[REQUESTS + slot * REQUEST_BYTES + SECTOR]
