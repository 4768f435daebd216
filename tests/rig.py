"""What the TAP tests in Python share: results, a folder to work in, a vnbd-server that surely ends. (peers.sh for Python.)

    from rig import Rig

    with Rig() as rig:
        server = rig.server("--export", "=" + rig.disk("disk", "1M"))
        rig.same("the server says the size", 1 << 20, ...)

The folder is removed and what was started is killed at exit, however the test ends; a log is shown if a test failed.
An exception is a failed test.
"""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

sys.dont_write_bytecode = True  # the sources may be read-only, and other tests run beside this one

TESTS = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(os.path.dirname(TESTS), os.environ.get("VNBD_BUILD", "build/release"))
READY_S = 20  # generous: a sanitizer build on a busy machine
PR_SET_PDEATHSIG = 1
UNITS = {"k": 10, "M": 20, "G": 30}


def die_with_parent():
    """Not even a SIGKILL of the test leaves a child behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(condition, seconds=READY_S):
    """Polls; returns the condition's last value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(0.01)


class Server:
    """A running vnbd-server. address: of its Unix socket, for nbd_raw; uri: for libnbd."""

    def __init__(self, rig, arguments):
        self.path = os.path.join(rig.folder, f"nbd{len(rig.servers)}.sock")
        self.log_path = self.path + ".log"
        self.address = self.path
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([os.path.join(BUILD, "vnbd-server"), "--listen", "unix:" + self.path,
                                             *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=die_with_parent)
        wait_until(lambda: "listening on nbd+unix://" in self.log() or self.process.poll() is not None)
        if "listening on" not in self.log():
            raise RuntimeError("the server does not start: " + self.log())

    @property
    def pid(self):
        return self.process.pid

    def uri(self, export=""):
        return f"nbd+unix:///{export}?socket={self.path}"

    def log(self):
        with open(self.log_path, errors="replace") as log:
            return log.read()

    def ports(self):
        """TCP ports it listens on, in order."""
        return [int(port) for port in re.findall(r"listening on nbd://\S+:(\d+)", self.log())]

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def stop(self, how=signal.SIGTERM):
        """Returns the exit status; None: it does not end."""
        self.process.send_signal(how)
        try:
            return self.process.wait(READY_S)
        except subprocess.TimeoutExpired:
            return None


class Rig:
    def __init__(self):
        self.count, self.failed, self.servers = 0, 0, []
        self.folder = tempfile.mkdtemp(prefix="vnbd-test.")

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(1))
        return self

    def ok(self, name, passed, *details):
        """One test; returns whether it passed. @details are shown if it did not."""
        self.count += 1
        self.failed += not passed
        print(f"{'ok' if passed else 'not ok'} {self.count} - {name}", flush=True)
        if not passed:
            for detail in details:
                note(detail)
        return bool(passed)

    def same(self, name, expected, actual):
        return self.ok(name, expected == actual, f"expected: {short(expected)}", f"     got: {short(actual)}")

    def path(self, name):
        return os.path.join(self.folder, name)

    def disk(self, name, size, fill=None):
        """A file of @size ("1M") of zeroes, or of random bytes; returns its path."""
        bytes_ = int(size[:-1]) << UNITS[size[-1]] if size[-1] in UNITS else int(size)
        with open(self.path(name), "wb") as disk:
            if fill:
                disk.write(os.urandom(bytes_))
            disk.truncate(bytes_)
        return self.path(name)

    def server(self, *arguments):
        self.servers.append(None)  # keeps the number, should it fail
        server = Server(self, arguments)
        self.servers[-1] = server
        return server

    def __exit__(self, kind, value, trace):
        if kind and kind is not SystemExit:
            self.ok("the test runs to its end", False, *traceback.format_exception(kind, value, trace))
        for server in filter(None, self.servers):
            if server.process.poll() is None:
                server.process.kill()
            server.process.wait()
        if self.failed:
            for server in filter(None, self.servers):
                note("server log:\n" + "\n".join(server.log().splitlines()[-60:]))
        shutil.rmtree(self.folder, ignore_errors=True)
        print(f"1..{self.count}", flush=True)
        sys.exit(1 if self.failed or kind else 0)


def short(value):
    text = repr(value)
    return text if len(text) < 400 else text[:400] + "..."


def note(text):
    for line in str(text).rstrip().splitlines():
        print("# " + line, flush=True)


def skip_all(reason):
    """Instead of any test. CI is to have every peer, so there it is a failure."""
    if os.environ.get("CI"):
        print(f"1..1\nnot ok 1 - may not be skipped in CI: {reason}", flush=True)
        sys.exit(1)
    print(f"1..0 # SKIP {reason}", flush=True)
    sys.exit(0)
