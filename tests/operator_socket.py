"""The control socket of a server that a test runs, for what the test wants done.

    control = Operator(rig.path("control"))     # of a server with --control unix:...
    result = control.ask("powercut", export="a", keep="random", seed=7)
"""

import json
import socket

REPLY_S = 60


class Refused(Exception):
    pass


class Operator:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(REPLY_S)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")

    def ask(self, command, **arguments):
        self.socket.sendall(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
        reply = json.loads(self.lines.readline())
        if not reply["ok"]:
            raise Refused(reply["error"])
        return reply["result"]

    def refused(self, command, **arguments):
        """Why it is refused; None: it is not."""
        try:
            self.ask(command, **arguments)
        except Refused as refused:
            return str(refused)

    def export(self, name):
        return next(row for row in self.ask("exports") if row["name"] == name)
