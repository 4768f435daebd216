#!/usr/bin/python3
# With --replay, what a guest was told is written is there after the storage node's power was cut, flushed or not, and so is
# what it wrote over it since; the guest notices nothing but time.
# If this fails, a power cut of the storage node corrupts a running guest's filesystem, which takes for written what is not.
import os
import subprocess

from operator_socket import Operator
from rig import BUILD, Rig, die_with_parent, wait_until
from vhost_user import BLOCK, F_BLK_FLUSH, P_INFLIGHT_SHMFD, SECTOR, Client, Guest

WRITES = 4
PATTERN = b"".join(bytes([slot + 1]) * BLOCK for slot in range(WRITES))


def written(path):
    with open(path, "rb") as disk:
        return disk.read(WRITES * BLOCK)


def write_all(rig, server, name, *arguments):
    client = Client(rig, rig.path(name), server.uri("vm"), *arguments)
    guest = Guest()
    guest.connect(client.path)
    guest.negotiate(P_INFLIGHT_SHMFD, F_BLK_FLUSH)
    guest.start(base=0)
    for slot in range(WRITES):
        guest.write(slot, sector=slot * BLOCK // SECTOR, byte=slot + 1)
    guest.kick()
    assert wait_until(lambda: guest.used() == WRITES)
    return client, guest


def exercise(rig, uri, *arguments):
    with open(rig.path("exercise"), "wb") as log:
        return subprocess.Popen([os.path.join(BUILD, "tests", "link-exercise"), "--fill", *arguments, uri], stdout=log, stderr=log,
                                preexec_fn=die_with_parent)


def said(rig):
    with open(rig.path("exercise"), errors="replace") as log:
        return log.read()


def cut_while_it_works(rig, control, process, cuts):
    """Each cut when it has come on by 1000 requests; ends it. Returns whether all was right."""
    for cut in range(cuts):
        before = said(rig).count("after ")
        wait_until(lambda: said(rig).count("after ") > before or process.poll() is not None)
        if process.poll() is not None:
            break
        control.ask("powercut", export="vm", seed=cut, keep=("none", "random")[cut % 2])
    status = wait_until(lambda: process.poll() is not None, 100) and process.returncode
    return status == 0 and "errors 0, mismatches 0" in said(rig)


with Rig() as rig:
    disk = rig.disk("disk", "8M")
    server = rig.server("--control", "unix:" + rig.path("control"), "--export", f"vm={disk},volatile=on")
    control = Operator(rig.path("control"))

    client, guest = write_all(rig, server, "kept.sock", "--replay=8M")
    control.ask("powercut", export="vm", keep="none")
    rig.ok("what is lost is sent again", wait_until(lambda: "it again" in client.log()), client.log())
    guest.write(0, sector=0, byte=9)
    guest.kick()
    wait_until(lambda: guest.used() == WRITES + 1)
    client.process.terminate()
    client.process.wait()
    control.ask("powercut", export="vm", keep="all")
    rig.ok("and what was written over it is on top", written(disk) == b"\x09" * BLOCK + PATTERN[BLOCK:], written(disk)[::BLOCK])

    process = exercise(rig, server.uri("vm"), "--requests=12000", "--replay=8", "--seed=3")
    rig.ok("random requests through power cuts are all right", cut_while_it_works(rig, control, process, 8), said(rig)[-2000:])
    rig.ok("some of what they wrote had to be sent again", "it again" in said(rig), said(rig)[-2000:])

    client, guest = write_all(rig, server, "lost.sock")
    control.ask("powercut", export="vm", keep="none")
    wait_until(lambda: "connected again" in client.log())
    client.process.terminate()
    client.process.wait()
    control.ask("powercut", export="vm", keep="all")
    rig.ok("without it they are lost: this test can fail", written(disk) != PATTERN)
