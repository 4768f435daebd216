#!/usr/bin/python3
# Whatever rules do to an export, another one on the same worker goes on as if nothing were; and the server ends.
# If this fails, one broken disk of a test breaks the others, or the test hangs.
import time

import nbd
from rig import Rig

RULES = ["read: delay 1h", "read: hold", "read: blackhole", "write: ghost 1h", "read: reorder", "data: rate 1",
         "data: bandwidth 1", "read: corrupt old", "write: error EIO", "read: close amid"]
SECTOR = 512
PATIENCE_S = 10  # a busy machine; what is held up takes an hour, or for ever


def dial(server, export):
    handle = nbd.NBD()
    handle.connect_uri(server.uri(export))
    return handle


def trouble(server, export):
    """A connection with reads and writes in flight that may never be answered."""
    handle = dial(server, export)
    for number in range(30):
        try:
            handle.aio_pread(nbd.Buffer(SECTOR), number * SECTOR)
            handle.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(SECTOR)), number * SECTOR)
        except nbd.Error:  # this one is closed by then
            break
    return handle


def work(handle):
    """Seconds that some requests take."""
    begun = time.monotonic()
    for number in range(100):
        data = b"%08d" % number * (SECTOR // 8)
        handle.pwrite(data, number * SECTOR)
        assert handle.pread(SECTOR, number * SECTOR) == data
        handle.flush()
    return time.monotonic() - begun


with Rig() as rig:
    exports = [f"{number}=memory:1M,fault={rule}" for number, rule in enumerate(RULES)]
    server = rig.server("--workers", "1", "--export", "good=memory:1M",
                        *(word for export in exports for word in ("--export", export)))
    before = work(dial(server, "good"))
    troubled = [trouble(server, str(number)) for number in range(len(RULES)) for _ in range(2)]
    after = work(dial(server, "good"))
    rig.ok("another export of the same worker goes on", after < PATIENCE_S + 10 * before, before, after)
    del troubled[::2]  # half of them are gone
    rig.ok("also when the others hang up", work(dial(server, "good")) < PATIENCE_S + 10 * before)
    rig.same("the server ends", 0, server.stop())
    rig.ok("and had to kill no connection", "the client was too slow" not in server.log())
