/* tests/bench/nbd/options.c -- nbdload's command line. */

#include "load.h"

#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECTIONS_MAX = 4096 };

const char *const op_names[] = { "randread", "randwrite", "read", "write", "randrw", "rw" };

struct options opt = {
	.export = "",
	.label = "",
	.op = OP_RANDREAD,
	.conns = 1,
	.qd = 1,
	.mix = 70,
	.bs = 4096,
	.rxbuf = 256 << 10,
	.runtime = 2,
	.warmup = 0.2,
	.timeout = 30,
	.sweep = true,
	.trunc = true,
	.cpu = -1,
};

static const char usage[] =
	"usage: nbdload --connect=ADDR [options]\n"
	"  -c, --connect=ADDR    unix:PATH, an absolute PATH, or HOST:PORT\n"
	"  -x, --export=NAME     export name (default: empty)\n"
	"  -o, --op=OP           randread randwrite read write randrw rw (randread)\n"
	"  -m, --mix=PCT         reads in randrw and rw (70)\n"
	"  -b, --bs=SIZE         bytes per operation (4k)\n"
	"  -q, --qd=N            requests in flight on each connection (1)\n"
	"  -n, --conns=N         connections (1)\n"
	"  -W, --ws=SIZE         working set (the export)   -O, --base=OFFSET  its start (0)\n"
	"  -t, --runtime=SEC     measured time (2)          -w, --warmup=SEC   before it (0.2)\n"
	"  -N, --ops=COUNT       this many operations instead, no warm-up\n"
	"  -f, --flush-every=N   a flush after every N writes of a connection\n"
	"  -F, --fua             writes carry FUA\n"
	"  -s, --structured      ask for structured replies\n"
	"  -B, --batch=N         at most N requests in one send (as many as there are)\n"
	"  -p, --server-pid=PID  report CPU and peak RSS of PID and its descendants\n"
	"  -v, --verify          stamp writes, check reads, read all back at the end\n"
	"      --fill            verify: first write the whole working set\n"
	"      --no-sweep        verify: don't read all back\n"
	"  -j, --json            one JSON object      -l, --label=TEXT  goes into the output\n"
	"      --cpu=N           pin to CPU N         --spin            poll, never sleep\n"
	"      --rxbuf=SIZE (256k) --sndbuf=SIZE --rcvbuf=SIZE   buffers (kernel's defaults)\n"
	"      --no-trunc        TCP: copy large payloads out instead of dropping them\n"
	"      --seed=N          --timeout=SEC  give up when no reply comes for so long (30)\n";

static uint64_t size_arg(const char *s)
{
	char *e;
	uint64_t v = strtoull(s, &e, 0);

	switch (tolower((unsigned char)*e)) {
	case 't':
		v <<= 10; /* fall through */
	case 'g':
		v <<= 10; /* fall through */
	case 'm':
		v <<= 10; /* fall through */
	case 'k':
		v <<= 10;
		e++;
	}
	if (e == s || *e)
		die("bad number: %s", s);
	return v;
}

static double sec_arg(const char *s)
{
	char *e;
	double v = strtod(s, &e);

	if (e == s || *e || v < 0 || v > 1e6)
		die("bad time: %s", s);
	return v;
}

void parse_args(int argc, char **argv)
{
	enum { FILL = 256, NO_SWEEP, CPU, SPIN, RXBUF, SNDBUF, RCVBUF, NO_TRUNC, SEED, TIMEOUT };
	static const struct option lo[] = {
		{ "connect", 1, 0, 'c' },
		{ "export", 1, 0, 'x' },
		{ "op", 1, 0, 'o' },
		{ "mix", 1, 0, 'm' },
		{ "bs", 1, 0, 'b' },
		{ "qd", 1, 0, 'q' },
		{ "conns", 1, 0, 'n' },
		{ "ws", 1, 0, 'W' },
		{ "base", 1, 0, 'O' },
		{ "runtime", 1, 0, 't' },
		{ "warmup", 1, 0, 'w' },
		{ "ops", 1, 0, 'N' },
		{ "flush-every", 1, 0, 'f' },
		{ "fua", 0, 0, 'F' },
		{ "structured", 0, 0, 's' },
		{ "batch", 1, 0, 'B' },
		{ "server-pid", 1, 0, 'p' },
		{ "verify", 0, 0, 'v' },
		{ "json", 0, 0, 'j' },
		{ "label", 1, 0, 'l' },
		{ "help", 0, 0, 'h' },
		{ "fill", 0, 0, FILL },
		{ "no-sweep", 0, 0, NO_SWEEP },
		{ "cpu", 1, 0, CPU },
		{ "spin", 0, 0, SPIN },
		{ "rxbuf", 1, 0, RXBUF },
		{ "sndbuf", 1, 0, SNDBUF },
		{ "rcvbuf", 1, 0, RCVBUF },
		{ "no-trunc", 0, 0, NO_TRUNC },
		{ "seed", 1, 0, SEED },
		{ "timeout", 1, 0, TIMEOUT },
		{ 0, 0, 0, 0 },
	};
	int ch;

	while ((ch = getopt_long(argc, argv, "c:x:o:m:b:q:n:W:O:t:w:N:f:FsB:p:vjl:h", lo, NULL)) != -1) {
		switch (ch) {
		case 'c':
			opt.addr = optarg;
			break;
		case 'x':
			opt.export = optarg;
			break;
		case 'o':
			for (opt.op = 0; opt.op <= OP_RW && strcmp(optarg, op_names[opt.op]); opt.op++)
				;
			if (opt.op > OP_RW)
				die("unknown op: %s", optarg);
			break;
		case 'm':
			opt.mix = (unsigned)size_arg(optarg);
			break;
		case 'b':
			opt.bs = size_arg(optarg);
			break;
		case 'q':
			opt.qd = (unsigned)size_arg(optarg);
			break;
		case 'n':
			opt.conns = (unsigned)size_arg(optarg);
			break;
		case 'W':
			opt.ws = size_arg(optarg);
			break;
		case 'O':
			opt.base = size_arg(optarg);
			break;
		case 't':
			opt.runtime = sec_arg(optarg);
			break;
		case 'w':
			opt.warmup = sec_arg(optarg);
			break;
		case 'N':
			opt.ops = size_arg(optarg);
			break;
		case 'f':
			opt.flush_every = (unsigned)size_arg(optarg);
			break;
		case 'F':
			opt.fua = true;
			break;
		case 's':
			opt.structured = true;
			break;
		case 'B':
			opt.batch = (unsigned)size_arg(optarg);
			break;
		case 'p':
			opt.pid = (pid_t)size_arg(optarg);
			break;
		case 'v':
			opt.verify = true;
			break;
		case 'j':
			opt.json = true;
			break;
		case 'l':
			opt.label = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case FILL:
			opt.fill = true;
			break;
		case NO_SWEEP:
			opt.sweep = false;
			break;
		case CPU:
			opt.cpu = (int)size_arg(optarg);
			break;
		case SPIN:
			opt.spin = true;
			break;
		case RXBUF:
			opt.rxbuf = size_arg(optarg);
			break;
		case SNDBUF:
			opt.sndbuf = size_arg(optarg);
			break;
		case RCVBUF:
			opt.rcvbuf = size_arg(optarg);
			break;
		case NO_TRUNC:
			opt.trunc = false;
			break;
		case SEED:
			opt.seed = size_arg(optarg);
			break;
		case TIMEOUT:
			opt.timeout = sec_arg(optarg);
			break;
		default:
			fputs(usage, stderr);
			exit(2);
		}
	}
	if (!opt.addr || optind != argc) {
		fputs(usage, stderr);
		exit(2);
	}
	if (!opt.bs || opt.bs > 32 << 20 || !opt.qd || opt.qd > 65536 || !opt.conns ||
		opt.conns > CONNECTIONS_MAX || opt.rxbuf < 4096 || opt.mix > 100 || opt.timeout <= 0)
		die("an option is out of range");
	if (opt.verify && (opt.bs % 8 || opt.bs < 64))
		die("--verify needs a block size of 64 or more and a multiple of 8");
	if (opt.fill && !opt.verify)
		die("--fill goes with --verify");
}
