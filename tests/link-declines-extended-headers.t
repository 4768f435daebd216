#!/usr/bin/python3
# A libnbd that would ask for extended headers by itself, as Debian 13's does, is told not to.
# If this fails, vnbd-client speaks compact headers to a vnbd-server that has agreed to extended ones, and has no disk.
import os
import subprocess

from rig import BUILD, Rig, skip_all

SHIM = r'''
#include <stdbool.h>
#include <stdio.h>
struct nbd_handle;
int nbd_set_request_extended_headers(struct nbd_handle *nbd, bool request)
{
	(void)nbd;
	fprintf(stderr, "extended headers: %s\n", request ? "yes" : "no");
	return 0;
}
'''

with Rig() as rig:
    source, shim = rig.path("shim.c"), rig.path("shim.so")
    with open(source, "w", encoding="utf-8") as out:
        out.write(SHIM)
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source], check=True)
    except FileNotFoundError:
        skip_all("no C compiler")
    server = rig.server("--export", "=" + rig.disk("disk", "1M"))
    done = subprocess.run([os.path.join(BUILD, "tests", "link-exercise"), "--requests=10", server.uri()], capture_output=True,
                          text=True, timeout=60, env={**os.environ, "LD_PRELOAD": shim, "ASAN_OPTIONS": "verify_asan_link_order=0"})
    rig.ok("they are declined", "extended headers: no" in done.stderr and "yes" not in done.stderr, done.stderr)
    rig.same("and the link works", 0, done.returncode)
