"""The sections of a run: each starts its peers, takes measurements in turn round by round, and ends the peers."""

import os
import sys

import measure
import peers
import workloads
from peers import PeerMissing
from results import LOAD, Section


class Progress:
    """One line that says what runs now; plain lines, a few, where stderr is no terminal."""

    def __init__(self):
        self.tty, self.done = sys.stderr.isatty(), 0

    def step(self, what):
        self.done += 1
        if self.tty:
            print(f"\r{what}\033[K", end="", file=sys.stderr, flush=True)
        elif self.done % 20 == 1:
            print(what, file=sys.stderr, flush=True)

    def end(self):
        if self.tty:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


class Bench:
    """What all sections need. @tier, @rounds, @secs: how much, see workloads.py."""

    def __init__(self, place, tier, rounds, secs):
        self.place, self.tier, self.rounds, self.secs, self.progress = place, tier, rounds, secs, Progress()

    def where(self):
        cpu = self.place.cpu
        return f"{self.place.transport}, " + \
            ("the scheduler decides" if cpu is None else f"server and load share CPU {cpu}")

    def take(self, section, workload, peer, function, *arguments):
        """One measurement; a peer that fails is not asked for this workload again."""
        label = peer if isinstance(peer, str) else peer.name
        key = f"{label}, {workload}"
        if key in section.missing:
            return
        self.progress.step(f"{section.title}: {key}")
        try:
            section.add(workload, label, function(*arguments))
        except PeerMissing as why:
            section.missing[key] = str(why)

    def start(self, section, name, function, *arguments):
        """A peer, or None with the reason in @section."""
        try:
            return function(*arguments)
        except PeerMissing as why:
            section.missing[name] = str(why)
            return None

    def start_servers(self, section, names, mode=peers.PLAIN):
        return [s for s in (self.start(section, name, peers.start_server, name, self.place, mode) for name in names) if s]


def warm_cache(image):
    """Puts the image into the page cache afresh, in 4 KiB folios: what readahead leaves are large folios, in which ext4
    overwrites 4 KiB at three times the CPU time, and what ran before would otherwise decide the results."""
    fd = os.open(image, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    for offset in range(0, os.fstat(fd).st_size, 1 << 20):
        os.pread(fd, 1 << 20, offset)
    os.close(fd)


def stop(running):
    for peer in running:
        peer.stop()


def servers(bench):
    section = Section(f"NBD servers, {bench.where()}", "The image is in the page cache, cache=writeback. floor: one pread "
                      "or pwrite for each request, on one thread, and nothing else.", "vnbd-server", LOAD)
    warm_cache(bench.place.image)
    running = bench.start_servers(section, workloads.SERVERS)
    try:
        for _ in range(bench.rounds):
            for workload, _, options in workloads.of_tier(workloads.NBD, bench.tier):
                for server in running:
                    bench.take(section, workload, server, measure.server_load, bench.place, server, options, bench.secs)
    finally:
        stop(running)
    return [section]


def scaling(bench):
    section = Section(f"More connections, {bench.where()}", "4 KiB random reads, 256 in flight in all, shared by the "
                      "connections; from 1000 on one each.", "vnbd-server", LOAD, "scaling")
    warm_cache(bench.place.image)
    running = bench.start_servers(section, workloads.SCALING_SERVERS[bench.tier])
    try:
        for _ in range(bench.rounds):
            for connections, _, options in workloads.of_tier(workloads.SCALING, bench.tier):
                for server in running:
                    bench.take(section, f"{connections} connection{'s' * (connections > 1)}", server, measure.server_load, bench.place, server,
                               options, bench.secs)
    finally:
        stop(running)
    return [section]


def bridges(bench):
    """One section for each server behind the bridges; all of them take turns."""
    behind = {name: Section(f"vhost-user-blk back-ends in front of {name}, {bench.where()}", "CPU is the back-end's. "
                            "vumock: a bridge that only copies and checks little.", "vnbd-client",
                            LOAD[:1] + ["total"] + LOAD[1:])
              for name in workloads.BEHIND[bench.tier]}
    warm_cache(bench.place.image)
    pairs, running = [], []
    try:
        for name, section in behind.items():
            server = bench.start(section, name, peers.start_server, name, bench.place)
            if not server:
                continue
            running.append(server)
            for bridge in workloads.BRIDGES:
                peer = bench.start(section, bridge, peers.start_bridge, bridge, bench.place, server)
                if peer:
                    pairs.append((section, peer, server))
                    running.insert(0, peer)
        for _ in range(bench.rounds):
            for workload, _, options in workloads.of_tier(workloads.VHOST, bench.tier):
                for section, bridge, server in pairs:
                    bench.take(section, workload, bridge, measure.bridge_load, bench.place, bridge, server, options,
                               bench.secs)
    finally:
        stop(running)
    return list(behind.values())


def beside(bench):
    section = Section(f"A reader beside a busy writer, {bench.where()}", "4 KiB reads, one in flight, while another client "
                      "keeps 128 writes of 4 KiB in flight.", "vnbd-server", ["p99", "p50", "p999", "rate"], "plain")
    warm_cache(bench.place.image)
    running = bench.start_servers(section, workloads.BESIDE_SERVERS)
    try:
        for _ in range(bench.rounds):
            for server in running:
                bench.take(section, "randread 4k QD1", server, measure.reader_beside_writer, bench.place, server,
                           bench.secs)
    finally:
        stop(running)
    return [section]


def network_off(section):
    """Adds to each server's runs what part of fio's IOPS it reaches when a request's time without any disk, as "no disk"
    takes it, is taken off."""
    for workload in section.workloads:
        bare, disk = section.medians(workload, "no disk"), section.medians(workload, "fio")
        for name in workloads.DIRECT_SERVERS[:-1]:
            for run in section.runs[workload].get(name, []):
                if bare and disk and 1 / run["rate"] > 1 / bare["rate"]:
                    run["share"] = 100 / (1 / run["rate"] - 1 / bare["rate"]) / disk["rate"]


def direct(bench):
    section = Section(f"O_DIRECT, {bench.where()}", "cache=none, against fio's io_uring engine on the same file. no disk: "
                      "the responder without a file, what network and protocol cost. nbdkit and nbd-server have no "
                      "O_DIRECT.", "vnbd-server", LOAD[:2] + ["share"] + LOAD[2:5])
    running = [s for s in (bench.start(section, name, peers.start_server, name, bench.place,
                                       peers.PLAIN if name == "no disk" else peers.DIRECT)
                           for name in workloads.DIRECT_SERVERS) if s]
    try:
        for _ in range(bench.rounds):
            for workload, _, options, fio in workloads.of_tier(workloads.DIRECT, bench.tier):
                bench.take(section, workload, "fio", measure.fio, bench.place, fio, bench.secs)
                for server in running:
                    bench.take(section, workload, server, measure.server_load, bench.place, server,
                               options + ["-W", "64m"], bench.secs)
    finally:
        stop(running)
    network_off(section)
    return [section]


def tls(bench):
    section = Section(f"TLS, {bench.where()}", "nbdcopy reads the export through TLS with a pre-shared key, 256 KiB at a "
                      "time; the server's CPU time counts.", "vnbd-server", ["core", "mib"], "plain")
    warm_cache(bench.place.image)
    running = bench.start_servers(section, workloads.TLS_SERVERS, peers.TLS)
    try:
        for _ in range(bench.rounds):
            for server in running:
                bench.take(section, "sequential read", server, measure.tls_copy, bench.place, server,
                           bench.place.psk())
    finally:
        stop(running)
    return [section]


def memory(bench):
    section = Section("Memory", f"KiB of {workloads.MEMORY_CONNECTIONS} connections, each, that made one request and are "
                      "idle; and of each export that nobody uses, of 1000 (nbdkit and qemu-nbd: one process an export).",
                      "vnbd-server", ["kib"], "plain")
    for name in workloads.MEMORY_SERVERS:
        server = bench.start(section, name, peers.start_server, name, bench.place)
        if server:
            bench.take(section, "idle connection", server, measure.connection_memory, server,
                       workloads.MEMORY_CONNECTIONS)
            stop([server])
        bench.take(section, "export", name, measure.export_memory, name, bench.place, workloads.EXPORTS)
    return [section]


def start_up(bench):
    section = Section("Start-up", "From starting the server to the answer to a first request.", "vnbd-server", ["ms"],
                      "plain")
    for _ in range(bench.rounds):
        for name in workloads.START_SERVERS:
            bench.take(section, "start to first answer", name, measure.start_up, name, bench.place)
    return [section]
