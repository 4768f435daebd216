"""What was measured, as it is printed, kept as JSON, and shown in the report.

A section is one table: workloads, peers, and for each pair the runs, each a dictionary of numbers. All of it is plain
data, so report.py can make the report again from the file.
"""

from statistics import median

# key: heading, decimals
COLUMNS = {
    "cpu": ("CPU us/request", 2),
    "total": ("with its server", 2),
    "rate": ("requests/s", 0),
    "p50": ("p50 us", 0),
    "p99": ("p99 us", 0),
    "p999": ("p99.9 us", 0),
    "client": ("load us", 2),
    "mib": ("MiB/s", 0),
    "core": ("MiB/s a core", 0),
    "ms": ("ms", 1),
    "kib": ("KiB", 1),
    "share": ("% of fio's IOPS, network off", 0),
}
REPORT_ONLY = {"p50", "p999"}  # of loads: the printed table would become too wide
NO_RATIO = {"client", "share"}
LOAD = ["cpu", "rate", "p50", "p99", "p999", "client"]

# A run is noisy when more than this was so.
OTHER_CPUS_MAX = 0.25    # used by programs that are not measured, while measuring
STEAL_MAX = 0.05         # of a CPU, taken by the hypervisor
SPREAD_MAX = 0.35        # (highest - lowest) / median of one peer's CPU time in one workload ...
SPREAD_ROWS_MAX = 0.2    # ... in more than this part of the rows


class Section:
    """@kind: "load" (LOAD columns), "scaling" (the same; workloads are numbers of connections) or "plain"."""

    def __init__(self, title, note, reference, columns, kind="load"):
        self.title, self.note, self.reference, self.columns, self.kind = title, note, reference, columns, kind
        self.workloads, self.peers, self.runs, self.missing = [], [], {}, {}

    def add(self, workload, peer, run):
        for known, name in ((self.workloads, workload), (self.peers, peer)):
            if name not in known:
                known.append(name)
        self.runs.setdefault(workload, {}).setdefault(peer, []).append(run)

    def medians(self, workload, peer):
        runs = self.runs.get(workload, {}).get(peer)
        if not runs:
            return None
        return {key: median(run[key] for run in runs if key in run)
                for key in {key for run in runs for key in run}}

    def span(self, workload, peer, key):
        values = [run[key] for run in self.runs[workload][peer] if key in run]
        return min(values), max(values)

    def spreads(self):
        """(highest - lowest) / median of what counts first, for each row of three runs or more."""
        key = self.columns[0]
        for workload, peers in self.runs.items():
            for peer, runs in peers.items():
                middle = self.medians(workload, peer).get(key)
                if len(runs) > 2 and middle:
                    low, high = self.span(workload, peer, key)
                    yield (high - low) / middle

    def rows(self):
        """(workload, peer, medians), workload by workload."""
        for workload in self.workloads:
            for peer in self.peers:
                middle = self.medians(workload, peer)
                if middle:
                    yield workload, peer, middle

    def as_data(self):
        return dict(self.__dict__)

    @classmethod
    def from_data(cls, data):
        section = cls(data["title"], data["note"], data["reference"], data["columns"], data["kind"])
        section.__dict__.update(data)
        return section


def ratio(middle, base, key):
    """Of a peer to the reference, where both have it."""
    return middle[key] / base[key] if base and base.get(key) and key in middle else None


def errors(middle_runs):
    return sum(run.get("bad", 0) for run in middle_runs)


def print_section(section):
    """One table a workload, with the ratios to the reference beside the first columns."""
    print(f"\n== {section.title}" + (f"\n   {section.note}" if section.note else ""))
    columns = [key for key in section.columns if section.kind == "plain" or key not in REPORT_ONLY]
    for workload in section.workloads:
        base = section.medians(workload, section.reference)
        print(f"\n{workload}\n  {'':22}" + "".join(heading(key) for key in columns))
        for peer in section.peers:
            middle = section.medians(workload, peer)
            if middle:
                print(f"  {peer:22}" + "".join(cell(section, workload, peer, middle, base, key)
                                              for key in columns) + complaint(section, workload, peer))
    for name, why in section.missing.items():
        print(f"\n  {name} is left out: {why}")


def heading(key):
    name = COLUMNS[key][0]
    if key == "cpu":
        return f"{name:>16}{'spread':>20}{'ratio':>9}"
    return f"{name:>{width(key)}}" + ("" if key in NO_RATIO else f"{'ratio':>9}")


def width(key):
    return max(11, len(COLUMNS[key][0]) + 2)


def cell(section, workload, peer, middle, base, key):
    decimals, times = COLUMNS[key][1], ratio(middle, base, key)
    factor = "" if key in NO_RATIO else f"{times:9.2f}" if times else f"{'-':>9}"
    if key not in middle:
        return f"{'-':>{36 if key == 'cpu' else width(key)}}" + factor
    if key == "cpu":
        low, high = section.span(workload, peer, key)
        return f"{middle[key]:16.{decimals}f}{f'{low:.2f}..{high:.2f}':>20}{factor}"
    return f"{middle[key]:{width(key)}.{decimals}f}{factor}"


def complaint(section, workload, peer):
    bad = errors(section.runs[workload][peer])
    return f"  {bad} ERRORS" if bad else ""


def noise(sections, load_average, steal):
    """Why this run should not be believed too far; empty: it was quiet."""
    reasons = []
    others = [run["other"] for s in sections for peers in s.runs.values() for runs in peers.values() for run in runs
              if "other" in run]
    spreads = [spread for section in sections for spread in section.spreads()]
    wide = sum(spread > SPREAD_MAX for spread in spreads)
    if others and median(others) > OTHER_CPUS_MAX:
        reasons.append(f"other programs used {median(others):.2f} CPUs meanwhile")
    if steal > STEAL_MAX:
        reasons.append(f"the hypervisor took {steal:.2f} CPUs meanwhile")
    if load_average > 1:
        reasons.append(f"the load average at the start was {load_average:.1f}")
    if spreads and wide > len(spreads) * SPREAD_ROWS_MAX:
        reasons.append(f"rounds differ by more than {SPREAD_MAX:.0%} in {wide} of {len(spreads)} rows")
    return reasons
