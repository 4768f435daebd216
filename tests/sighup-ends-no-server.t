#!/usr/bin/python3
# SIGHUP, which "systemctl reload" sends, ends no server, also where there is nothing to be loaded again.  If this fails, a
# reload of all services takes the disks of every guest away.
import signal

from nbd_raw import *
from rig import Rig, wait_until

with Rig() as rig:
    server = rig.server("--export", "=" + rig.disk("disk", "1M"))
    with Connection(server.address) as before:
        before.go()
        server.process.send_signal(signal.SIGHUP)
        rig.ok("the log tells", wait_until(lambda: "signal HUP: there are no certificates or keys to be loaded again" in server.log()))
        rig.same("who is there goes on", 0, before.ask(CMD_WRITE, 0, 512, data=bytes(512)).error)
    with Connection(server.address) as after:
        after.go()
        rig.same("and others may come", 0, after.ask(CMD_READ, 0, 512).error)
    rig.same("it ends when it is told to", 0, server.stop())
