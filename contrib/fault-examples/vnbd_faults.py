"""The fault rules of a running vnbd-server, for test suites: see vnbd-fault(7), and with-nbdsh.py beside this file.

    faults = Faults("/run/vnbd/control")          # vnbd-server --control unix:/run/vnbd/control
    rule = faults.add("vm1", "write once: hold")  # None instead of an export: for accept and handshake
    ...
    faults.release(rule)

What the server refuses is a FaultError with its words.
"""

import json
import socket


class FaultError(Exception):
    pass


class Faults:
    def __init__(self, path):
        self.path = path

    def ask(self, command, **arguments):
        """One request and its answer, on a connection of its own."""
        arguments = {name: value for name, value in arguments.items() if value is not None}
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.path)
            connection.sendall(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
            reply = json.loads(connection.makefile().readline())
        if not reply["ok"]:
            raise FaultError(reply["error"])
        return reply["result"]

    def add(self, export, rule):
        """Returns the rule's number."""
        return self.ask("fault-add", export=export, rule=rule)["id"]

    def list(self, export=None):
        """Of dicts: id, export, rule, matched, fired."""
        return self.ask("fault-list", export=export)

    def remove(self, rule):
        self.ask("fault-remove", id=rule)

    def clear(self, export=None):
        """Returns how many there were."""
        return self.ask("fault-clear", export=export)["removed"]

    def release(self, rule=None):
        """Withheld replies leave: those of one rule, or all."""
        self.ask("fault-release", id=rule)
