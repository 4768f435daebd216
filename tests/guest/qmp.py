"""QEMU's monitor, for the scripts beside this."""

import json
import socket
import sys


class Monitor:
    def __init__(self, path):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(path)
        self.stream = connection.makefile("rw")
        self.stream.readline()  # the greeting
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}))
        self.stream.flush()
        while True:
            answer = json.loads(self.stream.readline())
            if "error" in answer:
                sys.exit(f"{sys.argv[0]}: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
