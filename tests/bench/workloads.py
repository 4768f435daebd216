"""What is measured: rows of tables. A row's tier says in which runs it takes part: QUICK in all, DEFAULT in all but quick
ones, LONG in long ones alone."""

QUICK, DEFAULT, LONG = range(3)
TIERS = ["quick", "default", "long"]

ROUNDS = [3, 5, 7]
SECONDS = [0.45, 0.9, 2]  # of one measurement

WRITES = ["-W", "64m"]  # writes stay in a part of the image, so that dirty pages do not pile up
RANGE = "--range=64M"

SERVERS = ["vnbd-server", "nbdkit", "qemu-nbd", "nbd-server", "floor"]
NBD = [
    ("randread 4k QD1", QUICK, ["-o", "randread", "-q", "1"]),
    ("randread 4k QD32", QUICK, ["-o", "randread", "-q", "32"]),
    ("randread 4k QD32, 4 connections", DEFAULT, ["-o", "randread", "-q", "32", "-n", "4"]),
    ("randrw 70/30 4k QD32", DEFAULT, ["-o", "randrw", "-m", "70", "-q", "32"] + WRITES),
    ("randrw 70/30 4k QD32, 4 connections", LONG, ["-o", "randrw", "-m", "70", "-q", "32", "-n", "4"] + WRITES),
    ("randwrite 4k QD1", LONG, ["-o", "randwrite", "-q", "1"] + WRITES),
    ("randwrite 4k QD32", QUICK, ["-o", "randwrite", "-q", "32"] + WRITES),
    ("randwrite 4k QD32, flush/32", QUICK, ["-o", "randwrite", "-q", "32", "-f", "32"] + WRITES),
    ("randwrite 4k QD8 FUA", DEFAULT, ["-o", "randwrite", "-q", "8", "-F"] + WRITES),
    ("read 256k QD8", QUICK, ["-o", "read", "-b", "256k", "-q", "8"]),
    ("write 256k QD8", QUICK, ["-o", "write", "-b", "256k", "-q", "8"] + WRITES),
    ("read 1M QD4", DEFAULT, ["-o", "read", "-b", "1m", "-q", "4"]),
    ("write 1M QD4", DEFAULT, ["-o", "write", "-b", "1m", "-q", "4"] + WRITES),
]

# The same number of requests in flight, over more and more connections; the last has one each.
SCALING_SERVERS = [["vnbd-server", "nbdkit", "floor"], SERVERS, SERVERS]
SCALING = [
    (1, QUICK, ["-o", "randread", "-q", "256", "-n", "1"]),
    (16, QUICK, ["-o", "randread", "-q", "16", "-n", "16"]),
    (256, QUICK, ["-o", "randread", "-q", "1", "-n", "256"]),
    (1000, DEFAULT, ["-o", "randread", "-q", "1", "-n", "1000"]),
    (2000, LONG, ["-o", "randread", "-q", "1", "-n", "2000"]),
]

BRIDGES = ["vnbd-client", "qemu-storage-daemon", "vumock"]
BEHIND = [["vnbd-server", "nbdkit"], ["vnbd-server", "nbdkit", "qemu-nbd"], ["vnbd-server", "nbdkit", "qemu-nbd"]]
VHOST = [
    ("randread 4k QD1", DEFAULT, ["--pattern=randread", "--qd=1"]),
    ("randread 4k QD32", QUICK, ["--pattern=randread", "--qd=32"]),
    ("randread 4k QD32, 2 queues", LONG, ["--pattern=randread", "--qd=32", "--queues=2"]),
    ("randwrite 4k QD32", QUICK, ["--pattern=randwrite", "--qd=32", RANGE]),
    ("randrw 70/30 4k QD32, 2 queues", DEFAULT, ["--pattern=mix", "--rdpct=70", "--qd=32", "--queues=2", RANGE]),
    ("randwrite 4k QD32, flush/32", LONG, ["--pattern=randwrite", "--qd=32", "--flush=32", RANGE]),
    ("read 128k QD8", DEFAULT, ["--pattern=read", "--bs=128k", "--qd=8"]),
    ("write 128k QD8, 1 segment", DEFAULT, ["--pattern=write", "--bs=128k", "--qd=8", RANGE]),
    ("write 128k QD8, 32 segments", DEFAULT, ["--pattern=write", "--bs=128k", "--qd=8", "--segs=32", RANGE]),
    ("write 128k QD8, 32 segments, 2 queues", LONG,
     ["--pattern=write", "--bs=128k", "--qd=8", "--segs=32", "--queues=2", RANGE]),
]

# O_DIRECT: the same for fio, which has no network in between.
DIRECT_SERVERS = ["vnbd-server", "qemu-nbd", "no disk"]
DIRECT = [
    ("randread 4k QD1", DEFAULT, ["-o", "randread", "-q", "1"], ["--rw=randread", "--iodepth=1"]),
    ("randread 4k QD32", DEFAULT, ["-o", "randread", "-q", "32"], ["--rw=randread", "--iodepth=32"]),
    ("randwrite 4k QD32", LONG, ["-o", "randwrite", "-q", "32"], ["--rw=randwrite", "--iodepth=32"]),
]


def of_tier(table, tier):
    return [row for row in table if row[1] <= tier]

BESIDE_SERVERS = ["vnbd-server", "nbdkit", "qemu-nbd", "nbd-server"]
MEMORY_SERVERS = ["vnbd-server", "nbdkit", "qemu-nbd", "nbd-server"]
MEMORY_CONNECTIONS = 64
EXPORTS = 1000
START_SERVERS = ["vnbd-server", "nbdkit", "qemu-nbd", "nbd-server"]
TLS_SERVERS = ["vnbd-server", "nbdkit", "qemu-nbd"]
