#!/usr/bin/python3
# vnbd-server --config serves what its file says, as if the command line had said it. If this fails, a server that is started
# by its unit exports the wrong disk, or listens where it should not.
import json
import os
import subprocess

import nbd

from rig import BUILD, Rig, wait_until

SERVER = os.path.join(BUILD, "vnbd-server")


def run(*arguments):
    result = subprocess.run([SERVER, *arguments], capture_output=True, text=True, timeout=60)
    return result.returncode, result.stderr


with Rig() as rig:
    config, disk, folder = rig.path("vnbd.conf"), rig.disk("disk", "1M"), rig.path("folder")
    os.mkdir(folder)
    with open(os.path.join(folder, "file"), "wb") as file:
        file.truncate(65536)

    def write(text):
        with open(config, "w") as file:
            file.write(text)

    write(f"""
[generic]
listen = 127.0.0.1:0
unixsock = {rig.path("sock")}
control = unix:{rig.path("control")}
workers = 2
connections-per-address = 5
allowlist = true

; nbd-server's words
[old]
exportname = {disk}
readonly = true
flush = true

[new,]
path = memory:2M
description = a disk, in memory

[]
path = {disk}
readonly = true

[faulty]
path = memory:1M
fault = write 4K-8K: error ENOSPC
fault = read every 2: delay 1ms

[files]
directory = {folder}
cache = unsafe
""")
    # Server() adds a --listen of its own.
    server = rig.server("--config", config, "--export", "more=memory:3M")
    rig.same("it listens where the file says, and where the command line says",
             sorted(["nbd://127.0.0.1", f"nbd+unix:///?socket={rig.path('sock')}", server.uri()]),
             sorted(line.split(" on ")[1].rsplit(":", 1)[0] if "127" in line else line.split(" on ")[1]
                    for line in server.log().splitlines() if "listening" in line))
    out = subprocess.run([os.path.join(BUILD, "vnbdctl"), "--socket", rig.path("control"), "--json", "exports"],
                         capture_output=True, text=True).stdout
    rows = [(row["name"], row["path"], row["size"], row["cache"], row["readonly"]) for row in json.loads(out)]
    rig.same("it exports what both say, in that order",
             [("old", disk, 1 << 20, "writeback", True), ("new,", "memory:2M", 2 << 20, None, False),
              ("", disk, 1 << 20, "writeback", True),
              ("faulty", "memory:1M", 1 << 20, None, False), (None, folder, None, "unsafe", False),
              ("more", "memory:3M", 3 << 20, None, False)], rows)
    client = nbd.NBD()
    client.set_full_info(True)
    client.connect_uri(server.uri("new,"))
    rig.same("with descriptions", "a disk, in memory", client.get_export_description())
    client.shutdown()
    client = nbd.NBD()
    client.connect_uri(server.uri("faulty"))
    client.pwrite(b"x" * 512, 0)
    try:
        client.pwrite(b"x" * 512, 4096)
    except nbd.Error as error:
        rig.same("keys that may be repeated do what they do on the command line", "ENOSPC", error.errno)
    else:
        rig.ok("a fault rule is obeyed", False)
    client.shutdown()
    client = nbd.NBD()
    client.connect_uri(server.uri("file"))
    rig.same("and the files of directories", 65536, client.get_size())
    client.shutdown()
    clients = []

    def connect():
        client = nbd.NBD()
        try:
            client.connect_uri(server.uri("old"))
        except nbd.Error:
            return False
        clients.append(client)
        return True

    rig.ok("its limits hold", wait_until(lambda: not connect()) and len(clients) == 5, len(clients))
    rig.same("it ends", 0, server.stop())

    tail = "\nvnbd-server: error: try 'vnbd-server --help'\n"
    write("[a]\npath = memory:1M\n\n[b]\npath = memory:1M\ncash = none\n")
    status, err = run("--config", config)
    rig.ok("a mistake is told with its place", status == 2 and
           err.startswith(f"vnbd-server: error: {config}:6: b: cash: unknown key 'cash'; known: "), status, err)
    rig.same("there may be no file", (2, f"vnbd-server: error: {rig.path('no')}: No such file or directory\n"),
             run("--config", rig.path("no")))
    write("[a]\npath = memory:1M\n")
    rig.same("and not two", (2, f"vnbd-server: error: --config {config}: there is a file already" + tail),
             run("--config", config, "--config", config))
    rig.same("nor one name twice", (1, "vnbd-server: error: export 'a': there is one of that name already"),
             (lambda result: (result[0], result[1].splitlines()[-1]))(run("--config", config, "--export", "a=memory:1M")))
    write("[generic]\nverbose = true\n")
    rig.same("something has to be exported",
             (2, "vnbd-server: error: nothing to export: give a FILE, --export, --export-dir or --config" + tail),
             run("--config", config))

    write("".join(f"[vm{i}]\npath = memory:1M\n" for i in range(10000)))
    server = rig.server("--config", config)
    client = nbd.NBD()
    client.connect_uri(server.uri("vm9999"))
    rig.same("ten thousand exports are no burden", 1 << 20, client.get_size())
    client.shutdown()
