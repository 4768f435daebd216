/* tests/bench/nbd/nbdload.c -- a load generator for NBD servers that costs little enough not to hide theirs.
 *
 * One thread, N connections, a fixed queue depth on each (closed loop). One wake-up costs one recv and one sendmsg,
 * however many replies were ready:
 *   - replies are received in bulk into one buffer shared by all connections and parsed in place; read payload is
 *     skipped, not copied again;
 *   - the requests that replace them leave together in one sendmsg;
 *   - one clock reading per recv stamps its completions and the new requests;
 *   - with one connection the thread sleeps in recv itself (no epoll);
 *   - on TCP, large read payloads are dropped in the kernel (MSG_TRUNC).
 *
 * Latency of an operation runs from when it was queued (the moment a slot was free for it) to the return of the recv
 * that brought the end of its reply. Server CPU is read from the CPU clock of the server process and of all its
 * descendants: nanosecond resolution, all threads, io_uring workers included. Kernel threads that work on the server's
 * behalf (writeback, loop) are not in it; "other" is the CPU used by neither server nor client.
 *
 * Exit status: 0 clean, 1 errors or mismatches were seen, 2 could not run. */

#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct phase phase;
struct counts count;
struct conn *conns;
struct latency data_latency, flush_latency;
struct snap at_start, at_end;
uint64_t export_size, now;
uint64_t nblocks, runid;
uint16_t transmission_flags;
bool structured_on;
uint8_t *rxbuf, *wdata;
int epfd = -1;
uint32_t *block_seq;
uint8_t *block_busy;
static uint64_t rng;

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("nbdload: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(2);
}

void *xalloc(size_t n)
{
	void *p = NULL;

	if (posix_memalign(&p, 4096, n ? n : 1))
		die("out of memory");
	memset(p, 0, n);
	return p;
}

uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	if (clock_gettime(id, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t rnd(void)
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return rng * 0x2545f4914f6cdd1dULL;
}

uint64_t rnd_below(uint64_t n)
{
	return (uint64_t)(((unsigned __int128)rnd() * n) >> 64);
}

static void pin_to_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set))
		die("--cpu: %s", strerror(errno));
}

static void make_buffers(void)
{
	runid = clock_ns(CLOCK_REALTIME) * 0x9e3779b97f4a7c15ULL >> 32 | 1;
	rng = (opt.seed ? opt.seed : runid) * 0x9e3779b97f4a7c15ULL | 1;
	rxbuf = (uint8_t *)xalloc(opt.rxbuf + PAGE_SKEW) + PAGE_SKEW;
	wdata = (uint8_t *)xalloc(opt.bs + PAGE_SKEW) + PAGE_SKEW;
	for (uint64_t i = 0; i < opt.bs; i++)
		wdata[i] = (uint8_t)(rnd() >> 40);
}

static void conn_open(struct conn *c)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

	c->fd = dial(&c->tcp);
	handshake(c->fd);
	c->slots = xalloc(opt.qd * sizeof *c->slots);
	c->free = xalloc(opt.qd * sizeof *c->free);
	c->fifo = xalloc(opt.qd * sizeof *c->fifo);
	if (opt.verify)
		c->data = xalloc(opt.qd * opt.bs);
	for (c->nfree = 0; c->nfree < opt.qd; c->nfree++)
		c->free[c->nfree] = opt.qd - 1 - c->nfree;
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, c->fd, &ev))
		die("epoll_ctl: %s", strerror(errno));
}

static void conn_close(struct conn *c)
{
	uint8_t header[REQUEST_LEN] = { 0 };

	put32(header, NBD_REQUEST_MAGIC);
	put16(header + 6, NBD_CMD_DISC);
	(void)!send(c->fd, header, sizeof header, MSG_NOSIGNAL);
	close(c->fd);
}

/* Ends the program where the server does not offer what the options ask for. */
static void check_server_fits(void)
{
	bool writes = (opt.op != OP_RANDREAD && opt.op != OP_READ) || opt.fill;

	if (writes && transmission_flags & NBD_FLAG_READ_ONLY)
		die("the export is read-only");
	if (opt.fua && !(transmission_flags & NBD_FLAG_SEND_FUA))
		die("the server does not offer FUA");
	if (opt.flush_every && !(transmission_flags & NBD_FLAG_SEND_FLUSH))
		die("the server does not offer flush");
	if (opt.conns > 1 && writes && !(transmission_flags & NBD_FLAG_CAN_MULTI_CONN))
		fprintf(stderr, "nbdload: note: the server does not promise multi-conn coherence\n");
}

static void choose_working_set(void)
{
	if (opt.base > export_size)
		die("--base is beyond the export's %" PRIu64 " bytes", export_size);
	if (!opt.ws || opt.ws > export_size - opt.base)
		opt.ws = export_size - opt.base;
	nblocks = opt.ws / opt.bs;
	if (!nblocks)
		die("the working set holds no block");
	if (!opt.verify)
		return;
	if (nblocks <= (uint64_t)opt.qd * opt.conns)
		die("--verify needs more blocks than requests in flight");
	block_seq = xalloc(nblocks * sizeof *block_seq);
	block_busy = xalloc(nblocks);
}

/* Reads back every block that was written; the reads do not count as measured ones. */
static void sweep(void)
{
	struct latency measured = data_latency;
	uint64_t written = 0, reads = count.reads;

	for (uint64_t i = 0; i < nblocks; i++)
		written += block_seq[i] != 0;
	if (written)
		run_phase(OP_READ, written, false, true);
	count.reads = reads;
	data_latency = measured;
}

int main(int argc, char **argv)
{
	parse_args(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	if (opt.cpu >= 0)
		pin_to_cpu(opt.cpu);
	make_buffers();
	if ((epfd = epoll_create1(0)) < 0)
		die("epoll_create1: %s", strerror(errno));
	conns = xalloc(opt.conns * sizeof *conns);
	for (unsigned i = 0; i < opt.conns; i++)
		conn_open(&conns[i]);
	check_server_fits();
	choose_working_set();

	if (opt.fill)
		run_phase(OP_WRITE, nblocks, false, false);
	run_phase(opt.op, opt.ops, true, false);
	if (opt.verify && opt.sweep)
		sweep();
	report();
	for (unsigned i = 0; i < opt.conns; i++)
		conn_close(&conns[i]);
	return count.errors || count.mismatches;
}
