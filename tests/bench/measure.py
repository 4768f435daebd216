"""One measurement: a load's run against one peer, as a dictionary of numbers."""

import json
import os
import re
import socket
import subprocess
import time

import peers
from peers import PeerMissing

WARM_UP_S = 0.15


def run_load(place, command):
    """One load's JSON, or a PeerMissing that says why there is none."""
    result = place.run(command)
    try:
        return json.loads(result.stdout)
    except ValueError:
        said = (result.stderr or result.stdout).strip().splitlines()[-1:] or [f"exit status {result.returncode}"]
        raise PeerMissing(said[0]) from None


def nbdload(place, server, options, secs):
    return [place.tool("nbdload"), "-c", server.address, "-x", server.export, "-t", str(secs), "-w", str(WARM_UP_S),
            "-j"] + options


def server_load(place, server, options, secs):
    r = run_load(place, nbdload(place, server, ["-p", str(server.pid)] + options, secs))
    return {"cpu": r["srv_us_op"], "rate": r["iops"], "p50": r["lat_us"]["p50"], "p99": r["lat_us"]["p99"],
            "p999": r["lat_us"]["p999"], "client": r["cli_us_op"], "bad": r["errors"] + r["mismatches"],
            "other": max(0, r["other_cores"])}


def bridge_load(place, bridge, server, options, secs):
    r = run_load(place, [place.tool("vuload"), "load", bridge.address, f"--time={secs}", f"--warmup={WARM_UP_S}",
                         "--wce=1", f"--backend-pid={bridge.pid},{server.pid}", "--json"] + options)
    if "error" in r:
        raise PeerMissing(r["error"])
    cpu = r["backend_cpu_us_op"]
    return {"cpu": cpu[0], "total": sum(cpu), "rate": r["iops"], "p50": r["p50_us"], "p99": r["p99_us"],
            "p999": r["p999_us"], "client": r["self_cpu_us_op"], "other": max(0, r["other_cpu_pct"] / 100),
            "bad": r["errors"] + r["mismatches"] + r["bad_used_len"]}


def reader_beside_writer(place, server, secs):
    """A reader with one request in flight, while another client keeps 128 writes in flight."""
    with place.ahead():
        writer = subprocess.Popen(nbdload(place, server, ["-o", "randwrite", "-q", "128", "-W", "64m"], secs + 1),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.3)
        run = server_load(place, server, ["-o", "randread", "-q", "1"], secs)
    finally:
        writer.terminate()
        writer.wait()
    return {key: run[key] for key in ("rate", "p50", "p99", "p999", "bad")}


def fio(place, options, secs):
    """The same file without any network: what the disk gives."""
    r = run_load(place, ["fio", "--name=disk", "--filename=" + place.image, "--direct=1", "--ioengine=io_uring",
                         "--bs=4k", "--size=64m", "--time_based", f"--runtime={secs}", f"--ramp_time={WARM_UP_S}",
                         "--norandommap", "--thread", "--output-format=json"] + options)["jobs"][0]
    side = r["read"] if r["read"]["total_ios"] else r["write"]
    cpu = (r["usr_cpu"] + r["sys_cpu"]) / 100 * 1e6 / side["iops"]
    at = {name: side["clat_ns"]["percentile"][key] / 1e3
          for name, key in (("p50", "50.000000"), ("p99", "99.000000"), ("p999", "99.900000"))}
    return dict(at, cpu=cpu, rate=side["iops"])


def cpu_s(pid):
    """CPU time of a process so far (the kernel's clock of a process, clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def tls_copy(place, server, psk):
    """nbdcopy reads all of the export through TLS."""
    size = os.path.getsize(place.image) >> 20
    uri = f"nbds://bench@{server.address}/?tls-psk-file={psk}"
    began, cpu = time.monotonic(), cpu_s(server.pid)
    result = place.run(["nbdcopy", "--request-size=262144", "--connections=1", uri, "null:"])
    if result.returncode:
        raise PeerMissing((result.stderr.strip().splitlines() or ["nbdcopy failed"])[-1])
    return {"core": size / (cpu_s(server.pid) - cpu), "mib": size / (time.monotonic() - began)}


# Memory and start-up ------------------------------------------------------------------------------------------------

def descendants(root):
    """@root and the processes below it: some servers fork for each connection."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as stat:
                parents[int(name)] = int(stat.read().rpartition(")")[2].split()[1])
        except OSError:
            pass
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def memory_kib(pid):
    """What the server's processes use, shared pages by their share."""
    total = 0
    for one in descendants(pid):
        try:
            with open(f"/proc/{one}/smaps_rollup") as rollup:
                total += int(re.search(r"^Pss:\s+(\d+)", rollup.read(), re.M).group(1))
        except OSError:
            pass
    return total


def connect(server):
    """An NBD connection in transmission phase, by hand."""
    unix = server.address.startswith("unix:")
    host, _, port = server.address.rpartition(":")
    link = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
    link.settimeout(peers.START_S)
    link.connect(server.address[5:] if unix else (host, int(port)))
    receive(link, 18)
    name = server.export.encode()
    link.sendall((3).to_bytes(4, "big") + b"IHAVEOPT" + (1).to_bytes(4, "big") + len(name).to_bytes(4, "big") + name)
    receive(link, 10)
    return link


def receive(link, count):
    data = b""
    while len(data) < count:
        got = link.recv(count - len(data))
        if not got:
            raise PeerMissing("closes the connection")
        data += got
    return data


def read_block(link):
    """The first 4 KiB of the export."""
    link.sendall(bytes.fromhex("25609513") + bytes(12) + bytes(8) + (4096).to_bytes(4, "big"))
    receive(link, 16 + 4096)


def connection_memory(server, count):
    """KiB for each of @count connections that have made one request and are idle now."""
    before = memory_kib(server.pid)
    links = []
    try:
        for _ in range(count):
            links.append(connect(server))
            read_block(links[-1])
        return {"kib": (memory_kib(server.pid) - before) / count}
    finally:
        for link in links:
            link.close()


def start_up(name, place):
    """Milliseconds from the server's start to the answer to a first request."""
    address = place.address(name)
    began = time.monotonic()
    server = peers.launch_server(name, place, address)
    try:
        while True:
            try:
                with connect(server) as link:
                    read_block(link)
                return {"ms": (time.monotonic() - began) * 1e3}
            except (ConnectionError, FileNotFoundError):
                if time.monotonic() - began > peers.START_S:
                    raise PeerMissing("does not answer") from None
                time.sleep(0.0005)
    finally:
        server.stop()


def export_memory(name, place, count):
    """KiB for each of @count exports of a server."""
    if name in ("nbdkit", "qemu-nbd"):  # a process each
        server = peers.start_server(name, place)
        try:
            return {"kib": memory_kib(server.pid)}
        finally:
            server.stop()
    used = []
    for exports in (1, count):
        server = peers.start_exports(name, place, exports)
        used.append(memory_kib(server.pid))
        server.stop()
    return {"kib": (used[1] - used[0]) / (count - 1)}
