#!/usr/bin/python3
# If this fails, a logical volume that was extended stays as small as it was for its clients until the server is
# restarted, or requests behind the end of one that was reduced get anything but the error for that.
import atexit
import os
import subprocess

from nbd_raw import *
from rig import Rig, skip_all, wait_until

MIB = 1 << 20
DATA = bytes(range(256)) * 16


def attach(path):
    """A loop device over @path, which ends with the test."""
    device = subprocess.run(["losetup", "-f", "--show", path], capture_output=True, text=True, check=True).stdout.strip()
    atexit.register(subprocess.run, ["losetup", "-d", device], check=False)
    return device


def resize(path, device, size):
    os.truncate(path, size)
    subprocess.run(["losetup", "-c", device], check=True)


def size_now(server, name):
    with Connection(server.address) as connection:
        return connection.go(name)[0]


def error(connection, command, offset):
    return connection.ask(command, offset, len(DATA), data=DATA if command == CMD_WRITE else b"").error


free = subprocess.run(["losetup", "-f"], capture_output=True, text=True)
if free.returncode:
    skip_all("no loop device: " + free.stderr.strip())
with Rig() as rig:
    modes = ("writeback", "none")
    backing = {mode: rig.disk(mode, "8M") for mode in modes}
    devices = {mode: attach(backing[mode]) for mode in modes}
    server = rig.server(*(word for mode in modes for word in ("--export", f"{mode}={devices[mode]},cache={mode}")))
    for mode in modes:
        with Connection(server.address) as connection:
            rig.same(f"{mode}: its size", 8 * MIB, connection.go(mode)[0])
            rig.same(f"{mode}: behind its end", (EINVAL, ENOSPC),
                     (error(connection, CMD_READ, 8 * MIB), error(connection, CMD_WRITE, 8 * MIB)))

            resize(backing[mode], devices[mode], 12 * MIB)
            rig.same(f"{mode}: a connected client may use what is new", (0, DATA),
                     (error(connection, CMD_WRITE, 11 * MIB), connection.ask(CMD_READ, 11 * MIB, len(DATA)).data))
            rig.same(f"{mode}: others learn its size", 12 * MIB, size_now(server, mode))
            rig.same(f"{mode}: it ends there", ENOSPC, error(connection, CMD_WRITE, 12 * MIB - 512))

            resize(backing[mode], devices[mode], 4 * MIB)
            rig.ok(f"{mode}: a smaller one is noticed by itself",
                   wait_until(lambda: f"export '{mode}' has shrunk to 4.0 MiB" in server.log()))
            rig.same(f"{mode}: others learn that", 4 * MIB, size_now(server, mode))
            rig.same(f"{mode}: what is gone fails", (EINVAL, ENOSPC, ENOSPC),
                     tuple(error(connection, command, 4 * MIB) for command in (CMD_READ, CMD_WRITE, CMD_WRITE_ZEROES)))
            rig.same(f"{mode}: what is left does not", (0, DATA),
                     (error(connection, CMD_WRITE, 2 * MIB), connection.ask(CMD_READ, 2 * MIB, len(DATA)).data))
    rig.same("the server ends cleanly", 0, server.stop())
