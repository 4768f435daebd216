#!/usr/bin/python3
# A rule that cannot be obeyed is refused, with what is wrong and where; the server does not start without it.
# If this fails, a test suite runs against a server that is not broken in the way it was told.
import os
import subprocess

from rig import BUILD, Rig


def refusal(*arguments):
    """Exit status and standard error."""
    result = subprocess.run([os.path.join(BUILD, "vnbd-server"), "--listen", "unix:/nowhere/nbd", *arguments],
                            capture_output=True, text=True, timeout=20)
    return result.returncode, result.stderr


EXPORT = [
    ("write evry 3: error EIO", "column 7: 'evry' is not an operation or condition; known: read, write, flush, "),
    ("write every 3: eror EIO", "column 16: 'eror' is nothing that can happen; known: delay TIME, "),
    ("write every three: error EIO", "column 13: 'every' wants N, a number from 1 on; not 'three'"),
    ("write: error EBADF", "column 14: 'error' wants ERRNO, EPERM, EIO, ENOMEM, "),
    ("write: delay 2h", "column 14: 'delay' wants TIME, a time up to an hour"),
    ("write 2M-1M: error EIO", "column 7: '2M-1M' is not FROM-TO"),
    ("read: drop", "column 7: 'drop' is for write, trim, zero, not for read"),
    ("write error EIO", "column 16: ': ' and what is to happen are missing"),
    ("", "column 1: ': ' and what is to happen are missing"),
    ("accept: close", "column 1: accept and handshake are not an export's: --fault"),
]
SERVER = [
    ("accept: clsoe", "column 9: 'clsoe' is nothing that can happen"),
    ("read: error EIO", "column 1: without an export there are only accept and handshake"),
    (": delay 1s", "column 1: without an export"),
    ("handshake: error EIO", "column 18: 'error' wants REFUSAL, UNSUP, POLICY, INVALID, PLATFORM, TLS_REQD, UNKNOWN, "),
    ("accept handshake: error POLICY", "column 19: 'error' is for handshake, not for accept"),
    ("accept cert a: close", "nothing but the address is known before a client has an export"),
]

with Rig() as rig:
    for rule, why in EXPORT:
        status, said = refusal("--export", f"a=memory:1M,fault={rule.replace(',', ',,')}")
        rig.ok(f"'{rule}' is not an export's rule", status == 2 and f"fault rule: {why}" in said, said)
        status, said = refusal("--export-dir", f"{rig.folder},fault={rule.replace(',', ',,')}")
        rig.ok("nor that of a directory", status == 2 and f"fault rule: {why}" in said, said)
    for rule, why in SERVER:
        status, said = refusal("--fault", rule, "--export", "a=memory:1M")
        rig.ok(f"'{rule}' is not the server's", status == 2 and why in said, said)
    with open(rig.path("config"), "w") as config:
        config.write("[generic]\n[a]\nexportname = memory:1M\nfault = read: hold\nfault = write evry 3: hold\n")
    status, said = refusal("--config", rig.path("config"))
    rig.ok("nor one in a configuration, where its line is told", status != 0 and
           "config:5: a: fault: fault rule: column 7: 'evry' is not" in said, said)
    many = ",fault=read: hold" * 257
    status, said = refusal("--export", f"a=memory:1M{many}")
    rig.ok("there are only so many", status == 1 and "export 'a': there are as many as 256 rules already" in said, said)
