#!/usr/bin/python3
# If this fails, a client of a directory gets at a file outside of it, or loses the one that it uses, or a file that
# nobody uses any more stays open and locked.
import os
import subprocess
import threading

from nbd_dialects import meta_query
from nbd_raw import *
from rig import Rig, wait_until

KIB = 1 << 10
REP_META_CONTEXT = 4


def names(server):
    with Connection(server.address) as connection:
        connection.greet()
        replies = connection.option(OPT_LIST)[:-1]
        return [reply.data[4:4 + struct.unpack(">I", reply.data[:4])[0]].decode() for reply in replies]


def ask(server, option, name):
    """What an INFO or GO is answered with: the size, or the error."""
    with Connection(server.address) as connection:
        connection.greet()
        replies = connection.option(option, info_request(name))
        return replies[-1].type if replies[-1].type != REP_ACK else struct.unpack(">Q", replies[0].data[2:10])[0]


def open_files(server, folder):
    links = []
    for fd in os.listdir(f"/proc/{server.pid}/fd"):
        try:
            links.append(os.readlink(f"/proc/{server.pid}/fd/{fd}"))
        except FileNotFoundError:
            pass
    return sorted({os.path.basename(link) for link in links if link.startswith(folder + "/")})


def select_status(connection, name):
    """Asks for base:allocation of that export; the last reply's type."""
    connection.send_option(OPT_SET_META_CONTEXT, meta_query(name, ("base:allocation",)))
    reply = connection.option_reply()
    return connection.option_reply().type if reply.type == REP_META_CONTEXT else reply.type


def has_status(server, chosen, selected, between=lambda: None):
    """Whether GO to @chosen knows block status, if that was asked for for @selected; @between the two."""
    with Connection(server.address) as connection:
        connection.greet()
        connection.option(OPT_STRUCTURED_REPLY)
        assert select_status(connection, selected) == REP_ACK
        between()
        assert connection.option(OPT_GO, info_request(chosen))[-1].type == REP_ACK
        connection.structured = True
        return connection.ask(CMD_BLOCK_STATUS, 0, 4096).error == 0


def replace(path):
    os.rename(path, path + ".old")
    with open(path, "wb") as new:
        new.truncate(32 * KIB)


def qemu_writes(path):
    return subprocess.run(["qemu-io", "-f", "raw", path, "-c", "write 0 512"], capture_output=True).returncode == 0


def choose_and_leave(server, failures):
    for _ in range(60):
        try:
            with Connection(server.address) as connection:
                connection.go("a")
                if connection.ask(CMD_WRITE, 0, 512, data=bytes(512)).error:
                    failures.append("a write")
        except Exception as error:
            failures.append(error)


with Rig() as rig:
    outside = rig.disk("outside", "1M")
    folder, second = rig.path("folder"), rig.path("second")
    os.makedirs(folder + "/sub")
    os.mkdir(second)
    for name, size in (("folder/a", "64k"), ("folder/b,ü", "3000"), ("folder/.hidden", "64k"), ("folder/sub/deep", "64k"),
                       ("folder/named", "64k"), ("second/a", "1M"), ("second/z", "128k")):
        rig.disk(name, size)
    os.mkfifo(folder + "/fifo")
    for link, target in (("inside", "a"), ("through", "sub/deep"), ("up", "../outside"), ("absolute", outside),
                         ("magic", "/proc/self/fd/0"), ("dangling", "nothing"), ("around", "../folder/a")):
        os.symlink(target, f"{folder}/{link}")
    with open(folder + "/secret", "wb"):
        pass
    os.chmod(folder + "/secret", 0)
    foreign = b"Stra\xdfe"
    with open(os.fsencode(folder) + b"/" + foreign, "wb") as file:
        file.truncate(3000)
    server = rig.server("--export-dir", folder + ",description=from a folder", "--export", "named=" + outside,
                        "--export-dir", second + ",readonly,cache=none")

    rig.same("the list is of files, and links inside", ["a", "b,ü", "inside", "named", "secret", "through", "z"],
             sorted(names(server)))
    rig.same("nothing is open", [], open_files(server, folder))
    for name, size in (("a", 64 * KIB), ("b,ü", 3000), ("through", 64 * KIB), ("z", 128 * KIB), ("named", 1024 * KIB)):
        rig.same(f"INFO of {name}", size, ask(server, OPT_INFO, name))
        rig.same(f"GO to {name}", size, ask(server, OPT_GO, name))
    bad = ("", ".", "..", ".hidden", "sub", "sub/deep", "fifo", "up", "absolute", "magic", "dangling", "around", "../outside",
           outside, "a/", "./a", "a\0", "a" * 300, "no such file")
    for name in bad:
        rig.same(f"no {name!r:.40}", [ERR_UNKNOWN] * 2, [ask(server, option, name) for option in (OPT_INFO, OPT_GO)])

    rig.same("a name that is no UTF-8 is not listed, and can be chosen", [3000] * 2,
             [ask(server, option, foreign) for option in (OPT_INFO, OPT_GO)])
    with Connection(server.address) as connection:
        connection.greet()
        infos = connection.option(OPT_INFO, info_request(foreign, [INFO_NAME, INFO_DESCRIPTION]))
        rig.same("nor is it told as a string", [b"\0\0", b"\0\2"], [reply.data[:2] for reply in infos[:-1]])

    rig.ok("nothing is open any more", wait_until(lambda: not open_files(server, folder)))
    with Connection(server.address) as connection:
        connection.greet()
        connection.option(OPT_STRUCTURED_REPLY)
        answers = [connection.option(OPT_LIST), connection.option(OPT_INFO, info_request("a"))]
        rig.same("LIST, INFO and metadata contexts answer", [REP_ACK] * 3,
                 [answer[-1].type for answer in answers] + [select_status(connection, "a")])
        rig.same("and before GO nothing is open", [], open_files(server, folder))
        rig.same("a context of a file that does not exist", ERR_UNKNOWN, select_status(connection, "up"))
    rig.ok("a context is for the file of that name", has_status(server, "named", "named") and has_status(server, "a", "a"))
    rig.ok("for no other", not has_status(server, "a", "through"))
    rig.ok("nothing is open between them", wait_until(lambda: not open_files(server, folder)))
    rig.ok("also for one that came meanwhile",
           has_status(server, "a", "a", between=lambda: replace(folder + "/a")) and ask(server, OPT_INFO, "a") == 32 * KIB)
    os.rename(folder + "/a.old", folder + "/a")
    rig.ok("which ends with its client", wait_until(lambda: not any(name.startswith("a") for name in open_files(server, folder))))
    with Connection(server.address) as one, Connection(server.address) as other:
        one.go("a")
        rig.same("the one that is used is open", ["a"], open_files(server, folder))
        rig.ok("and locked", not qemu_writes(folder + "/a"))
        rig.same("by another name it may be had, too", 64 * KIB, ask(server, OPT_GO, "inside"))
        rig.ok("and the log warns", wait_until(
            lambda: f"{folder}/inside: more than one export of this server writes it" in server.log()))
        ask(server, OPT_GO, "inside")
        rig.same("once", 1, server.log().count("more than one export"))
        rig.same("it may be looked at", 64 * KIB, ask(server, OPT_INFO, "inside"))
        other.go("a")
        one.ask(CMD_WRITE, 512, 4, data=b"data")
        rig.same("two clients share it", b"data", other.ask(CMD_READ, 512, 4).data)
        one.close()
        os.unlink(folder + "/a")
        rig.same("a file that is gone is there for those that use it", (0, b"data"), other.ask(CMD_READ, 512, 4)[1:3])
        rig.same("others find the next directory's", 1024 * KIB, ask(server, OPT_INFO, "a"))
    rig.disk("folder/a", "96k")
    rig.ok("until there is a new one", wait_until(lambda: ask(server, OPT_GO, "a") == 96 * KIB))
    rig.ok("which is free when nobody uses it", wait_until(lambda: qemu_writes(folder + "/a")))

    with Connection(server.address) as connection:
        flags = connection.go("z")[1]
        rig.same("a directory may be readonly", (2, EPERM), (flags & 2, connection.ask(CMD_WRITE, 0, 512, data=bytes(512)).error))
    with Connection(server.address) as connection:
        connection.go("b,ü")
        os.truncate(folder + "/b,ü", 5000)
        rig.same("its size may change", 0, connection.ask(CMD_READ, 4000, 1000).error)

    failures = []
    threads = [threading.Thread(target=choose_and_leave, args=(server, failures)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rig.same("clients that come and go", [], failures)
    rig.ok("leave nothing open", wait_until(lambda: not open_files(server, folder)))

    def start_locker():
        return subprocess.Popen(["qemu-io", "-f", "raw", folder + "/a", "-c", "sleep 20000"], stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL)

    def refused():
        """Asking opens the file for a moment, in which the locker may find it taken and end."""
        global locker
        if locker.poll() is not None:
            locker = start_locker()
        return ask(server, OPT_GO, "a") == ERR_UNKNOWN

    locker = start_locker()
    rig.ok("what somebody else writes is refused", wait_until(refused))
    rig.same("and may be looked at", 96 * KIB, ask(server, OPT_INFO, "a"))
    for _ in range(200):
        ask(server, OPT_GO, "a")
    lines = server.log().count("export 'a' cannot be opened")
    rig.ok("the log stays short", lines < 20, lines)
    locker.kill()
    locker.wait()
    closed = rig.server("--export-dir", folder + ",allow-address=192.0.2.0/24", "--export-dir", second + ",allow-address=unix")
    rig.same("rules hold for all of a directory: LIST", ["z"], names(closed))
    for name, answer in (("a", ERR_UNKNOWN), ("z", 128 * KIB)):
        rig.same(f"INFO of and GO to {name}", [answer] * 2, [ask(closed, option, name) for option in (OPT_INFO, OPT_GO)])
    with Connection(closed.address) as connection:
        connection.greet()
        connection.option(OPT_STRUCTURED_REPLY)
        rig.same("contexts", (ERR_UNKNOWN, REP_ACK), (select_status(connection, "a"), select_status(connection, "z")))
        connection.send_option(OPT_EXPORT_NAME, b"a")
        rig.ok("and EXPORT_NAME", connection.closed())
    rig.same("that server ends cleanly", 0, closed.stop())

    with Connection(server.address) as connection:
        connection.greet(FIXED_NEWSTYLE)
        connection.send_option(OPT_EXPORT_NAME, b"a")
        rig.same("EXPORT_NAME takes one, too", 96 * KIB, struct.unpack(">Q", connection.receive(134)[:8])[0])
        rig.same("the server ends cleanly", 0, server.stop())
