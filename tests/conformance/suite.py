"""Rows: what the specification demands of a server, each with the check that shows it. Results: pass, fail, n/a.

    @must("NBD_OPT_ABORT", "ABORT is acknowledged")
    def _(server):
        assert ...

A check that raises NotApplicable is about something that this server does not offer. One that needs longer than the
deadline has failed: nothing a server does may hang the suite.
"""

import collections
import linecache
import os
import signal
import traceback

Row = collections.namedtuple("Row", "level section name check")
Result = collections.namedtuple("Result", "row outcome detail")
ROWS = []
PASS, FAIL, NOT_APPLICABLE = "pass", "fail", "n/a"


class NotApplicable(Exception):
    """What is checked is not offered."""


class Overdue(BaseException):
    """The row's time is up. Not an Exception: no check may take it for the server's end."""


def row(level, section, name):
    def add(check):
        assert all(other.name != name for other in ROWS), name
        ROWS.append(Row(level, section, name, check))
        return check

    return add


def must(section, name):
    return row("MUST", section, name)


def should(section, name):
    return row("SHOULD", section, name)


def applies(condition, reason):
    if not condition:
        raise NotApplicable(reason)


def reason_of(error):
    """What was asserted, or what broke, and in which line of the row."""
    frames = traceback.extract_tb(error.__traceback__)
    here = [frame for frame in frames if os.path.dirname(frame.filename) == os.path.dirname(os.path.abspath(__file__))]
    frame = (here or frames)[-1]
    line = linecache.getline(frame.filename, frame.lineno).strip()
    words = f"{type(error).__name__}: {error}" if not isinstance(error, AssertionError) else str(error)
    return f"{os.path.basename(frame.filename)}:{frame.lineno}: {line}" + (f" -- {words}" if words else "")


def on_alarm(*_):
    raise Overdue("no end within the deadline")


def run_row(one, server, deadline_s):
    signal.signal(signal.SIGALRM, on_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, deadline_s)
        try:
            one.check(server)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            server.hang_up()
        return Result(one, PASS, "")
    except NotApplicable as why:
        return Result(one, NOT_APPLICABLE, str(why))
    except (Exception, Overdue) as error:
        return Result(one, FAIL, reason_of(error))
