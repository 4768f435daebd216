#!/usr/bin/python3
"""A test suite that drives a disk's faults from Python: unittest, libnbd's module nbd (that of nbdsh), and a server each.

    python3 with-nbdsh.py                    # vnbd-server in PATH, or in $VNBD_SERVER

What is tested here is no more than libnbd; put your own client in its place.
"""

import os
import subprocess
import tempfile
import time
import unittest

import nbd
from vnbd_faults import FaultError, Faults

SERVER = os.environ.get("VNBD_SERVER", "vnbd-server")


class Disk:
    """A server with one export of memory, its control socket, and how to reach both."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.socket, control = (os.path.join(self.folder.name, name) for name in ("nbd", "control"))
        self.server = subprocess.Popen([SERVER, "--listen", "unix:" + self.socket, "--control", "unix:" + control,
                                        "--export", "disk=memory:16M"], stderr=subprocess.PIPE, text=True)
        for line in self.server.stderr:  # it tells when it is ready
            if "listening on" in line:
                break
        self.faults = Faults(control)
        return self

    def __exit__(self, *_):
        self.server.terminate()
        self.server.communicate()
        self.folder.cleanup()

    def connect(self):
        handle = nbd.NBD()
        handle.connect_uri("nbd+unix:///disk?socket=" + self.socket)
        return handle


class Examples(unittest.TestCase):
    def test_an_error_and_then_none(self):
        with Disk() as disk:
            client = disk.connect()
            rule = disk.faults.add("disk", "write 1M-2M times 2: error ENOSPC")
            for _ in range(2):
                with self.assertRaises(nbd.Error) as refused:
                    client.pwrite(bytes(4096), 1 << 20)
                self.assertEqual(refused.exception.errno, "ENOSPC")
            client.pwrite(bytes(4096), 1 << 20)
            self.assertEqual([(row["matched"], row["fired"]) for row in disk.faults.list() if row["id"] == rule], [(3, 2)])

    def test_a_reply_that_comes_when_it_is_told(self):
        with Disk() as disk:
            client = disk.connect()
            rule = disk.faults.add("disk", "write once: hold")
            command = client.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(b"x" * 512)), 0)
            self.assertEqual(bytes(client.pread(4, 0)), b"xxxx")  # it is done, and not answered
            self.assertFalse(client.aio_command_completed(command))
            disk.faults.release(rule)
            while not client.aio_command_completed(command):
                client.poll(-1)

    def test_a_lost_connection_in_the_middle_of_a_reply(self):
        with Disk() as disk:
            disk.faults.add("disk", "read once: close at 17")
            with self.assertRaises(nbd.Error):
                disk.connect().pread(512, 0)
            self.assertEqual(len(disk.connect().pread(512, 0)), 512)

    def test_a_write_that_lands_after_its_successor(self):
        with Disk() as disk:
            disk.faults.add("disk", "write once: ghost 300ms")
            with self.assertRaises(nbd.Error):
                disk.connect().pwrite(b"old!", 0)
            client = disk.connect()
            client.pwrite(b"new!", 0)
            while bytes(client.pread(4, 0)) == b"new!":
                time.sleep(0.01)
            self.assertEqual(bytes(client.pread(4, 0)), b"old!")

    def test_what_is_wrong_with_a_rule(self):
        with Disk() as disk, self.assertRaisesRegex(FaultError, "column 7: 'evry' is not an operation or condition"):
            disk.faults.add("disk", "write evry 3: error EIO")


if __name__ == "__main__":
    unittest.main()
