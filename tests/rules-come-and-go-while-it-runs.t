#!/usr/bin/python3
# Rules are added, listed, removed and released through the control socket, beside requests that they hold up.
# If this fails, a test suite steers a failure that is not there, or never gets rid of one.
import os
import subprocess
import sys
import threading
import time

import nbd
from rig import BUILD, TESTS, Rig, wait_until

sys.path.insert(0, os.path.join(os.path.dirname(TESTS), "contrib/fault-examples"))
from vnbd_faults import FaultError, Faults  # noqa: E402

SECTOR = 512


def dial(server, export="a"):
    handle = nbd.NBD()
    handle.connect_uri(server.uri(export))
    return handle


def fails(handle):
    try:
        handle.pread(SECTOR, 0)
    except nbd.Error:
        return True
    return False


def completes(handle, command):
    def look():
        handle.poll(10)
        return handle.aio_command_completed(command)
    return wait_until(look)


def refusal(operation, *arguments):
    try:
        operation(*arguments)
    except FaultError as error:
        return str(error)
    return None


def counting(rig, server, faults):
    one = faults.add("a", "read  every 2 : error   EIO")
    two = faults.add(None, "accept connection 1000: close")
    handle = dial(server)
    rig.same("a rule works from then on", [False, True, False, True], [fails(handle) for _ in range(4)])
    rig.same("the list has each as it is understood, and counts", [
        {"id": two, "export": None, "rule": "accept connection 1000: close", "matched": 0, "fired": 0},
        {"id": one, "export": "a", "rule": "read every 2: error EIO", "matched": 4, "fired": 2}], faults.list())
    rig.same("of one export alone", [[one], []], [[row["id"] for row in faults.list(name)] for name in ("a", "b")])
    faults.remove(one)
    rig.same("removed, it does nothing", [False] * 3, [fails(handle) for _ in range(3)])
    rig.same("and is gone", [two], [row["id"] for row in faults.list()])
    faults.add("a", "read: error EIO")
    faults.add("b", "read: error EIO")
    rig.same("clear: those of an export", 1, faults.clear("a"))
    rig.same("clear: all that are left", 2, faults.clear())
    rig.same("then there are none", [], faults.list())


def by_hand(rig, server, control):
    """The same by vnbdctl."""
    def ctl(*words):
        done = subprocess.run([os.path.join(BUILD, "vnbdctl"), "--socket", control, "fault", *words], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def rows():
        return [line.split(maxsplit=4)[1:] for line in ctl("list")[1].splitlines()[1:]]

    handle = dial(server)
    status, said = ctl("add", "a", "read times 2: error EIO")
    rig.ok("vnbdctl fault add", status == 0 and said.startswith("added as "), said)
    rig.same("is obeyed at once", [True, True, False], [fails(handle) for _ in range(3)])
    ctl("add", "handshake connection 1000: close")
    rig.same("vnbdctl fault list", [["-", "0", "0", "handshake connection 1000: close"], ["a", "3", "2", "read times 2: error EIO"]],
             rows())
    rig.same("vnbdctl fault remove", 0, ctl("remove", "a", said.split()[-1])[0])
    rig.same("that rule is gone", ["handshake connection 1000: close"], [row[-1] for row in rows()])
    rig.same("vnbdctl fault add: what is refused, and where", (1, "vnbdctl: error: column 7: "), (lambda result: (
        result[0], result[1][:26]))(ctl("add", "a", "read: eror EIO")))
    ctl("add", "a", "read: hold")
    command = handle.aio_pread(nbd.Buffer(SECTOR), 0)
    rig.ok("a reply is withheld", wait_until(lambda: rows()[-1][2] == "1") and not handle.aio_command_completed(command))
    rig.same("vnbdctl fault release", 0, ctl("release", "a")[0])
    rig.ok("lets it go", completes(handle, command))
    rig.same("vnbdctl fault clear", [0, []], [ctl("clear")[0], rows()])


def bad(rig, faults):
    rig.ok("a bad rule is told where", refusal(faults.add, "a", "read: eror EIO").startswith(
        "column 7: 'eror' is nothing that can happen; known: delay TIME, "))
    rig.same("an export that is not there", "no export 'x' is open", refusal(faults.add, "x", "read: error EIO"))
    rig.same("nor for a list", "no export 'x' is open", refusal(faults.list, "x"))
    rig.same("a number that is nobody's", ["no rule has the number 99999"] * 2,
             [refusal(faults.remove, 99999), refusal(faults.release, 99999)])
    rig.ok("an export's rule without export", "without an export" in refusal(faults.add, None, "read: error EIO"))
    rig.ok("the server's rule with one", "--fault" in refusal(faults.add, "a", "accept: close"))
    rig.same("none of them is there", [], faults.list())


def holding(rig, server, faults):
    handle, other = dial(server), dial(server)
    first, second = faults.add("a", "read 0-512: hold"), faults.add("a", "read 1K-2K: hold")
    commands = [handle.aio_pread(nbd.Buffer(SECTOR), offset) for offset in (0, 1024)]
    rig.ok("withheld", wait_until(lambda: [row["fired"] for row in faults.list()] == [1, 1]) and
           other.pread(SECTOR, 4096) is not None and not any(map(handle.aio_command_completed, commands)))
    faults.release(second)
    rig.ok("released: the reply comes", completes(handle, commands[1]))
    rig.ok("that of the other rule does not", not handle.aio_command_completed(commands[0]))
    again = other.aio_pread(nbd.Buffer(SECTOR), 1024)
    rig.ok("the rule holds what comes after", wait_until(lambda: faults.list()[1]["fired"] == 2) and
           not other.aio_command_completed(again))
    faults.remove(first)
    rig.ok("removed: what it held is answered", completes(handle, commands[0]))
    faults.release()
    rig.ok("all are released together", completes(other, again))
    faults.clear()

    slow = faults.add("a", "read: delay 1h")
    command = handle.aio_pread(nbd.Buffer(SECTOR), 0)
    rig.ok("delayed", wait_until(lambda: faults.list()[0]["fired"] == 1))
    faults.remove(slow)
    rig.ok("removed: it need not wait any more", completes(handle, command))


def greeting(rig, server, faults):
    rule = faults.add(None, "accept once: hold")
    late = threading.Thread(target=dial, args=(server,))
    late.start()
    rig.ok("a connection is held up", wait_until(lambda: faults.list()[0]["fired"] == 1) and late.is_alive())
    faults.release(rule)
    late.join(20)
    rig.ok("and released", not late.is_alive())
    faults.clear()


def storm(rig, server, faults):
    """Rules come and go while connections read and write, hang up and come again."""
    stop = threading.Event()
    rules = ["data p 0.5: hold", "read p 0.3: delay 5ms", "write p 0.2: ghost 20ms", "any p 0.1: close amid",
             "read p 0.3: double", "data p 0.5: reorder", "read: corrupt old", "any p 0.2: blackhole"]

    def work():
        while not stop.is_set():
            try:
                handle = dial(server)
                for number in range(20):
                    handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(4096)), number * 4096)
                    handle.aio_pread(nbd.Buffer(4096), number * 4096)
                handle.poll(20)
                handle.poll(20)
            except nbd.Error:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        for rule in rules:
            faults.add("a", rule)
        faults.release()
        for row in faults.list("a")[::2]:
            faults.remove(row["id"])
        faults.clear()
    stop.set()
    for thread in threads:
        thread.join()
    handle = dial(server)
    handle.pwrite(b"y" * SECTOR, 1 << 19)
    rig.ok("after a storm of rules all is as it was", bytes(handle.pread(SECTOR, 1 << 19)) == b"y" * SECTOR)


with Rig() as rig:
    control = rig.path("control")
    server = rig.server("--control", "unix:" + control, "--export", "a=" + rig.disk("disk", "1M"),
                        "--export", "b=memory:1M")
    faults = Faults(control)
    counting(rig, server, faults)
    by_hand(rig, server, control)
    bad(rig, faults)
    holding(rig, server, faults)
    greeting(rig, server, faults)
    storm(rig, server, faults)
    rig.same("the server ends in order", 0, server.stop())
