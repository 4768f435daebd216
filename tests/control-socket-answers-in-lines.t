#!/usr/bin/python3
# Programs steer the server by lines of JSON: each request gets its one reply, and whatever is wrong is told exactly.
# If this fails, vnbdctl and the scripts of test authors act on a wrong answer, wait for ever, or let a hostile one in.
import json
import os
import socket
import stat
import subprocess
import time

import nbd

from rig import BUILD, Rig, wait_until

REPLY_S = 20


class Controller:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)  # waits for its place in the queue, which it would not with a time limit
        self.socket.settimeout(REPLY_S)
        self.rest = b""

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        """The next reply; None: the connection has ended."""
        while b"\n" not in self.rest:
            try:
                got = self.socket.recv(1 << 20)
            except ConnectionResetError:
                got = b""
            if not got:
                return None
            self.rest += got
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def ask(self, command, **arguments):
        self.send(json.dumps({"command": command, "arguments": arguments, "id": 7}).encode() + b"\n")
        return self.line()

    def end(self):
        self.socket.shutdown(socket.SHUT_WR)


REFUSED = [
    (b"", "not JSON: at byte 0: '[' or '{' expected near end of file"),
    (b"hello", "not JSON: at byte 5: '[' or '{' expected near 'hello'"),
    (b"\xff\x00\x01", None),
    (b"[]", "not a JSON object"),
    (b'{"command":"help"} {}', "not JSON: at byte 20: end of file expected near '{'"),
    (b'{"command":"help","command":"help"}', "not JSON: at byte 27: duplicate object key near '\"command\"'"),
    (b"{}", "the 'command' is missing, or not a string"),
    (b'{"command":5}', "the 'command' is missing, or not a string"),
    (b'{"command":"help","arguments":[]}', "the 'arguments' are not an object"),
    (b'{"command":"help","argument":{}}', "a request has a 'command', 'arguments' and an 'id', but no 'argument'"),
    (b'{"command":"help","arguments":{"x":1}}', "unknown argument 'x'; known: none"),
    (b'{"command":"hel"}', "there is no command 'hel'; 'help' lists those that there are"),
    ('{"command":"f\\u00fc\\n"}'.encode(), "there is no command 'f\\xc3\\xbc\\x0a'; 'help' lists those that there are"),
    (b'{"command":' + b"[" * 60000, None),
    (b'{"command":"' + b"x" * 60000 + b'"}', None),
]

with Rig() as rig:
    disk, folder = rig.disk("disk", "1M"), rig.path("folder")
    os.mkdir(folder)
    with open(os.path.join(folder, "file"), "wb") as file:
        file.truncate(65536)
    path = rig.path("control")
    server = rig.server("--control", "unix:" + path, "--workers", "2", "--export", "a=" + disk,
                        "--export", "m=memory:2M", "--export", "caf\xe9,,=" + disk + ",readonly", "--export-dir", folder)
    rig.same("only its user may open it", 0o600, stat.S_IMODE(os.stat(path).st_mode))
    one = Controller(path)

    reply = one.ask("help")
    rig.ok("help lists the commands", reply["ok"] and {"help", "version", "exports", "connections"} <=
           {row["command"] for row in reply["result"]}, reply)
    rig.same("a reply has its request's id", 7, reply["id"])
    one.send(b'{"command":"version","id":{"any":[1.5,null]}}\r\n')
    reply = one.line()
    rig.same("whatever that is", {"any": [1.5, None]}, reply["id"])
    rig.same("version tells the process", ("vnbd-server", server.pid), (reply["result"]["program"], reply["result"]["pid"]))

    def exports():
        return {row["name"]: row for row in one.ask("exports")["result"]}

    rows = exports()
    rig.same("exports", {"name": "a", "path": disk, "size": 1 << 20, "cache": "writeback", "readonly": False,
                         "verifier": rows["a"]["verifier"], "volatile": None, "down": False, "connections": 0}, rows["a"])
    rig.same("one of memory has no mode", (None, 2 << 20), (rows["m"]["cache"], rows["m"]["size"]))
    rig.same("a read-only one", True, rows["caf\xe9,,"]["readonly"])
    rig.same("a directory has no name, size or connections of its own", (folder, None, None),
             (rows[None]["path"], rows[None]["size"], rows[None]["connections"]))
    rig.same("no connections", [], one.ask("connections")["result"])

    clients = [nbd.NBD() for _ in range(3)]
    for client, export in zip(clients, ("a", "a", "file")):
        client.connect_uri(server.uri(export))
    rig.same("who is connected to what", ["a", "a", "file"],
             sorted(row["export"] for row in one.ask("connections")["result"]))
    row = one.ask("connections")["result"][0]
    rig.same("as which of the server's connections", [1, 2, 3],
             sorted(row["number"] for row in one.ask("connections")["result"]))
    rig.ok("from where, since when", row["peer"].startswith(f"unix, pid {os.getpid()}, ") and
           int(os.stat(path).st_mtime) <= row["since"] <= time.time(), row)
    rig.same("each export counts its own", [2, 0], [exports()[name]["connections"] for name in "am"])
    rig.same("a directory's files are there while they are used", 65536, exports()["file"]["size"])
    for client in clients:
        client.shutdown()
    rig.ok("and not after", wait_until(lambda: "file" not in exports() and exports()["a"]["connections"] == 0))

    for line, why in REFUSED:
        one.send(line + b"\n")
        reply = one.line()
        rig.ok(f"refused: {line[:50]!r}", reply["ok"] is False and reply["id"] is None and
               (why or reply["error"]) == reply["error"] and len(reply["error"]) < 512, reply, why)

    one.send(b'{"command":"version","id":1}\n' * 500 + b'{"command":"help"')
    rig.same("many lines at once are answered in turn", [1] * 500, [one.line()["id"] for _ in range(500)])
    one.send(b"}\n")
    rig.ok("and the rest of the last one, when it comes", one.line()["ok"])
    one.send(b'{"command":"connections","id":2}\n{"command":"version"')
    one.end()
    rig.same("who hangs up gets what he has asked for", 2, one.line()["id"])
    rig.same("and half a line is none", None, one.line())

    long = Controller(path)
    long.send(b"x" * 65536)
    rig.same("a line that does not end", "a line has up to 65536 bytes", long.line()["error"])
    rig.same("is the connection's last", None, long.line())

    # Each reads nothing and asks on: what the server keeps for them is bounded, and others are served.
    slow = [Controller(path) for _ in range(15)]
    for controller in slow:
        controller.socket.settimeout(0.02)
        try:
            controller.send(b'{"command":"help"}\n' * 100000)
        except socket.timeout:
            pass
    two = Controller(path)
    rig.ok("slow controllers hold up nobody", two.ask("version")["ok"])
    with open(f"/proc/{server.pid}/statm") as statm:
        resident = int(statm.read().split()[1]) * 4096
    rig.ok("and cost little memory", "asan" in BUILD or "tsan" in BUILD or resident < 64 << 20, resident)
    rig.same("one more than there may be hears of it", "there are too many controllers", Controller(path).line()["error"])
    for controller in slow:
        controller.socket.close()

    def has_room():
        other = Controller(path)
        reply = other.ask("version")
        other.socket.close()
        return reply and reply["ok"]

    rig.ok("until others have gone", wait_until(has_room))
    client = nbd.NBD()
    client.connect_uri(server.uri("a"))
    rig.same("meanwhile clients are served", 1 << 20, client.get_size())
    client.shutdown()

    second = subprocess.run([os.path.join(BUILD, "vnbd-server"), "--listen", "unix:" + rig.path("other"), "--control",
                             "unix:" + path, "--export", "a=memory:1M"], capture_output=True, text=True)
    rig.same("a living server's socket is left alone",
             (1, f"vnbd-server: error: unix:{path}: another process listens there"),
             (second.returncode, second.stderr.splitlines()[-1]))
    server.process.kill()
    server.process.wait()
    rig.ok("a killed server leaves its socket", os.path.exists(path))
    server = rig.server("--control", "unix:" + path, "--export", "a=" + disk)
    three = Controller(path)
    rig.ok("which the next one replaces", three.ask("version")["ok"])
    rig.same("it ends, with a controller there", 0, server.stop())
    rig.same("who hears of it", None, three.line())
    rig.ok("and takes its socket along", not os.path.exists(path))
