"""judge.py -- whether a crash state holds what guest-job had made durable; for what looks at states: hand-over, look-ext4.

MARKS is a file with a line "ENTRY STEP" for each mark that the guest wrote: step STEP was durable before entry ENTRY of the
record. vnbd-replay each tells in VNBD_ENTRY before which entry the power went."""

import hashlib
import os

SLOTS = 8


def content(step):
    """The same in guest-job."""
    return "".join(f"{n}\n" for n in range(step * 1000, step * 1000 + 300 * (step % 7 + 1) + 1)).encode()


def durable_step(marks):
    """The last step that was durable at that moment; 0: none."""
    with open(marks) as file:
        entries = [line.split() for line in file]
    return max((int(step) for entry, step in entries if int(entry) < int(os.environ["VNBD_ENTRY"])), default=0)


def wrong_in_files(found, durable):
    """Each file is as its last durable step left it, or as the step left it that was under way. @found: as md5sum has it."""
    sums = {name: digest for digest, name in (line.split() for line in found)}
    for slot in range(SLOTS):
        last = durable - (durable - slot) % SLOTS
        allowed = [hashlib.md5(content(step)).hexdigest() for step in (last, durable + 1) if step > 0 and step % SLOTS == slot]
        digest = sums.get(f"f{slot}")
        if digest is None and last > 0:
            return f"f{slot} is lost, which step {last} had written"
        if digest is not None and digest not in allowed:
            return f"f{slot} is not as step {last} had left it"
    return None


def wrong_in_sqlite(found, durable):
    """All rows of durable transactions, and perhaps the one that was under way. @found: what sqlite3 says of LOOK."""
    if durable == 0 and any("no such table" in line for line in found):
        return None
    if len(found) != 2 or found[0] != "ok":
        return "the database is damaged: " + " ".join(found)
    count, last = (int(number or 0) for number in found[1].split("|"))
    if count != last:
        return f"rows are missing: {count} are there, the last is {last}"
    if count < durable:
        return f"committed rows are lost: {count} of {durable} are there"
    return None if count <= durable + 1 else f"{count} rows are there, and {durable} were written"


def verdict(workload, found, marks):
    """An exit status; says what is wrong."""
    durable = durable_step(marks)
    wrong = {"files": wrong_in_files, "sqlite": wrong_in_sqlite}[workload](found, durable)
    if wrong:
        print(f"{wrong} (step {durable} was durable)")
    return 1 if wrong else 0
