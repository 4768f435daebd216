#!/usr/bin/python3
# A server that ends each connection as soon as it has been used is dialled again some times a second, not some thousands, and
# does not fill the log.
# If this fails, one request that kills a server takes a CPU of the host of its guest, and the room of its log.
import os
import subprocess
import time

from nbd_raw import *
from raw_server import RawServer, chunk, take, take_request
from rig import BUILD, Rig, die_with_parent, wait_until

SECONDS = 2
CONNECTIONS_MAX = 20 * SECONDS + 10
LINES_MAX = 25 * (SECONDS + 1)


def answer_once(connection, _):
    command, cookie, offset, length = take_request(connection)
    if command == CMD_READ:
        connection.sendall(chunk(cookie, CHUNK_DATA, struct.pack(">Q", offset) + bytes(length)))
    else:
        take(connection, length if command == CMD_WRITE else 0)
        connection.sendall(chunk(cookie, CHUNK_NONE, b""))


with Rig() as rig:
    path, log_path = rig.path("nbd.sock"), rig.path("log")
    server = RawServer(path, answer_once)
    with open(log_path, "wb") as log:
        process = subprocess.Popen([os.path.join(BUILD, "tests", "link-exercise"), "--requests=100000",
                                    f"nbd+unix:///?socket={path}"], stdout=log, stderr=log, preexec_fn=die_with_parent)
    wait_until(lambda: server.connections > 1)
    begun, first = time.monotonic(), server.connections
    time.sleep(SECONDS)
    took, count = time.monotonic() - begun, server.connections - first
    process.kill()
    process.wait()
    with open(log_path, encoding="utf-8", errors="replace") as log:
        lines = log.read().splitlines()
    rig.ok("it is dialled again and again", count > 5, count)
    rig.ok("with a pause in between", count <= CONNECTIONS_MAX * max(1, took / SECONDS), count, took)
    rig.ok("the log stays short", 2 <= len(lines) <= LINES_MAX * max(1, took / SECONDS), len(lines))
