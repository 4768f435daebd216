/* tests/bench/vhost/vuload.c -- a load generator that is the driver of a vhost-user-blk device: its command line.
 *
 * Keeps QD requests in flight on each queue, measures, and with --verify checks every block read.
 * Exit status: 0 clean; 1 errors, mismatches or wrong used lengths; 2 could not run; 3 the device stalled or went. */
#include "load.h"

#include <getopt.h>
#include <signal.h>

struct options opt = { .pattern = "randread",
	.bs = 4096,
	.qd = 32,
	.nq = 1,
	.nseg = 1,
	.rdpct = 100,
	.nreg = 2,
	.indirect = true,
	.event_idx = true,
	.wce = -1,
	.secs = 3,
	.warmup = 0.5,
	.seed = 1,
	.rnd = true };
struct vu device = { .fd = -1, .timeout_ms = 10000, .pwant = PF_MQ | PF_REPLY_ACK | PF_CONFIG };

static const char usage[] =
	"usage: vuload load SOCKET [options]\n"
	"       vuload info SOCKET      the device's features and configuration as JSON\n"
	"  --pattern=randread|randwrite|read|write|mix  --rdpct=N (mix, default 70)\n"
	"  --bs=N[k]  --qd=N (per queue)  --queues=N  --segs=N  --qsize=N  --batch=N (kick every N "
	"submissions, 0 = per round)\n"
	"  --flush=N (a flush after every N writes)  --time=S  --warmup=S  --ops=N  --range=N[k|M|G]  "
	"--regions=N\n"
	"  --one-thread  --poll  --event-idx=0|1  --indirect=0|1  --packed=0|1  --in-order=0|1\n"
	"  --wce=0|1  --inflight  --no-reply-ack\n"
	"  --verify [--prefill | --filled]  --seed=N  --backend-pid=P[,P...]  --json  --timeout=MS\n"
	"    --prefill: one sequential pass writing the base stamps (generation 0); --filled: trust such a "
	"pass made before\n";

static uint64_t sz(const char *s)
{
	char *e;
	uint64_t x = strtoull(s, &e, 0);
	return x << (*e == 'k' ? 10 : *e == 'M' ? 20 : *e == 'G' ? 30 : 0);
}

static void parse_backends(const char *list)
{
	for (const char *p = list; *p && opt.backends < BACKENDS_MAX; p += strcspn(p, ","), p += *p == ',')
		opt.backend[opt.backends++] = atoi(p);
}

static void parse_option(int ch, unsigned *rdpct)
{
	switch (ch) {
	case 'p':
		opt.pattern = optarg;
		break;
	case 'r':
		*rdpct = (unsigned)atoi(optarg);
		break;
	case 'b':
		opt.bs = (unsigned)sz(optarg);
		break;
	case 'd':
		opt.qd = (unsigned)atoi(optarg);
		break;
	case 'q':
		opt.nq = (unsigned)atoi(optarg);
		break;
	case 's':
		opt.nseg = (unsigned)atoi(optarg);
		break;
	case 'Q':
		opt.qsize = (unsigned)atoi(optarg);
		break;
	case 'B':
		opt.batch = (unsigned)atoi(optarg);
		break;
	case 'f':
		opt.flush_every = (unsigned)atoi(optarg);
		break;
	case 't':
		opt.secs = atof(optarg);
		break;
	case 'w':
		opt.warmup = atof(optarg);
		break;
	case 'n':
		opt.ops = sz(optarg);
		break;
	case 'R':
		opt.range = sz(optarg);
		break;
	case 'g':
		opt.nreg = (unsigned)atoi(optarg);
		break;
	case '1':
		opt.one_thread = true;
		break;
	case 'P':
		opt.poll = true;
		break;
	case 'e':
		opt.event_idx = atoi(optarg);
		break;
	case 'i':
		opt.indirect = atoi(optarg);
		break;
	case 'k':
		opt.packed = atoi(optarg);
		break;
	case 'O':
		opt.in_order = atoi(optarg);
		break;
	case 'W':
		opt.wce = atoi(optarg);
		break;
	case 'I':
		opt.inflight = true;
		break;
	case 'A':
		device.pwant &= ~PF_REPLY_ACK;
		break;
	case 'v':
		opt.verify = true;
		break;
	case 'F':
		opt.prefill = opt.verify = true;
		break;
	case 'G':
		opt.filled = opt.verify = true;
		break;
	case 'S':
		opt.seed = sz(optarg);
		break;
	case 'c':
		parse_backends(optarg);
		break;
	case 'j':
		opt.json = true;
		break;
	case 'T':
		device.timeout_ms = atoi(optarg);
		break;
	case 'x':
		opt.info = true;
		break;
	default:
		die("%s", usage);
	}
}

/* What the pattern's name means. */
static void parse_pattern(unsigned rdpct)
{
	const char *p = opt.pattern;

	opt.rnd = !strncmp(p, "rand", 4) || !strcmp(p, "mix");
	p += !strncmp(p, "rand", 4) ? 4 : 0;
	opt.rdpct = !strcmp(p, "read") ? 100 : !strcmp(p, "write") ? 0 : !strcmp(p, "mix") ? rdpct : 101;
	if (opt.prefill) {
		opt.rnd = false;
		opt.rdpct = 0;
		opt.nq = 1;
		opt.pattern = "prefill";
	}
}

static void parse_args(int argc, char **argv)
{
	static const struct option L[] = { { "pattern", 1, 0, 'p' }, { "rdpct", 1, 0, 'r' },
		{ "bs", 1, 0, 'b' }, { "qd", 1, 0, 'd' }, { "queues", 1, 0, 'q' }, { "segs", 1, 0, 's' },
		{ "qsize", 1, 0, 'Q' }, { "batch", 1, 0, 'B' }, { "flush", 1, 0, 'f' }, { "time", 1, 0, 't' },
		{ "warmup", 1, 0, 'w' }, { "ops", 1, 0, 'n' }, { "range", 1, 0, 'R' },
		{ "regions", 1, 0, 'g' }, { "one-thread", 0, 0, '1' }, { "poll", 0, 0, 'P' },
		{ "event-idx", 1, 0, 'e' }, { "indirect", 1, 0, 'i' }, { "packed", 1, 0, 'k' },
		{ "in-order", 1, 0, 'O' }, { "wce", 1, 0, 'W' }, { "inflight", 0, 0, 'I' },
		{ "no-reply-ack", 0, 0, 'A' }, { "verify", 0, 0, 'v' }, { "prefill", 0, 0, 'F' },
		{ "filled", 0, 0, 'G' }, { "seed", 1, 0, 'S' }, { "backend-pid", 1, 0, 'c' },
		{ "json", 0, 0, 'j' }, { "timeout", 1, 0, 'T' }, { "info", 0, 0, 'x' }, { 0, 0, 0, 0 } };

	unsigned rdpct = 70;
	int ch;

	while ((ch = getopt_long(argc, argv, "", L, NULL)) != -1)
		parse_option(ch, &rdpct);
	if (optind >= argc)
		die("%s", usage);
	device.path = argv[optind];
	parse_pattern(rdpct);
	if (opt.rdpct > 100 || !opt.bs || opt.bs % 512 || !opt.qd || !opt.nq || !opt.nseg ||
		opt.nseg > opt.bs || !opt.nreg || opt.nreg > 8)
		die("bad option value\n%s", usage);
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	opt.info = !strcmp(command, "info");
	if (!opt.info && strcmp(command, "load"))
		die("%s", usage);
	parse_args(argc - 1, argv + 1);
	device_open();
	if (opt.info) {
		vu_print_info(&device);
		return 0;
	}
	device_configure();
	return load_run();
}
