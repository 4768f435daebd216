/* tests/bench/nbd/load.h -- what nbdload's parts share: one thread, a few connections, a fixed queue depth on each. */
#pragma once

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#include "server/nbd_wire.h"
#include "tests/bench/latency.h"

/* Bulk buffers start this far into a page. The kernel copies with rep movsb, which on AMD Zen 3 is up to 4 times
 * slower when the target's offset in its page is less than 32 bytes past the source's, as page-aligned data behind a
 * header would be. */
#define PAGE_SKEW	 2048
#define REQUEST_LEN	 28
#define REPLY_HEADER_MAX 32 /* the longest reply header, chunk fields included */
#define CHUNK_ERROR_BIT	 0x8000u

enum op { OP_RANDREAD, OP_RANDWRITE, OP_READ, OP_WRITE, OP_RANDRW, OP_RW };
extern const char *const op_names[];

/* What the command line says; options.c holds the defaults and the help text. */
struct options {
	const char *addr, *export, *label;
	enum op op;
	unsigned conns, qd, mix, flush_every, batch;
	uint64_t bs, base, ws, ops, seed, rxbuf, sndbuf, rcvbuf;
	double runtime, warmup, timeout;
	bool fua, structured, verify, fill, sweep, json, spin, trunc;
	pid_t pid;
	int cpu;
};

struct slot { /* one request in flight, or free */
	uint64_t t0, off;
	uint32_t gen, seq, got;
	uint16_t type;
	bool busy, err;
};

struct conn {
	int fd;
	bool tcp, want_out;
	uint32_t ninflight, nfree, *free;
	struct slot *slots;
	uint8_t *data; /* verify: one block per slot */
	/* requests queued, not yet sent in full: a ring of slot numbers */
	uint32_t *fifo, head, queued;
	size_t head_sent;   /* bytes of the first of them already sent */
	unsigned unflushed; /* writes since this connection's last flush */
	/* reply parser */
	uint8_t hbuf[REPLY_HEADER_MAX];
	unsigned hlen;
	size_t pay_left;  /* payload bytes still to come for cur */
	uint8_t *pay_dst; /* where they go; NULL: nowhere */
	struct slot *cur;
	bool cur_done; /* the reply ends with this payload */
};

/* Clocks at the ends of the measured time: ns, but for the two marked. */
struct snap {
	uint64_t t, cli, srv, srv_usr, srv_sys;
	double cli_usr, cli_sys; /* seconds */
	uint64_t busy, steal;	 /* whole machine, in ticks */
	long rss_kb;
	int threads, procs;
};

/* The phase being run: fill, the measured run, or the closing sweep. */
struct phase {
	enum op op;
	uint64_t limit, issued; /* data operations; limit 0: by time */
	uint64_t cursor, t_meas, t_end;
	bool measured, measuring, stopping, only_written;
};

struct counts {
	uint64_t reads, writes, flushes, errors, mismatches, checked, unchecked;
	uint64_t nrecv, nsend, nwait;
};

extern struct options opt;
extern struct phase phase;
extern struct counts count;
extern struct conn *conns;
extern struct latency data_latency, flush_latency;
extern struct snap at_start, at_end;
extern uint64_t export_size, now; /* now: the time of the last wake-up */
extern uint64_t nblocks, runid;
extern uint16_t transmission_flags;
extern bool structured_on;
extern uint8_t *rxbuf, *wdata;
extern int epfd;
extern uint32_t *block_seq; /* verify: last completed write, 0: unknown */
extern uint8_t *block_busy;

/* nbdload.c */
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void *xalloc(size_t bytes); /* zeroed, page-aligned, or the program ends */
uint64_t clock_ns(clockid_t id);
uint64_t rnd(void);
uint64_t rnd_below(uint64_t n);

/* options.c */
void parse_args(int argc, char **argv);

/* dial.c */
int dial(bool *tcp);
void handshake(int fd);

/* request.c */
void conn_send(struct conn *c); /* as much of the queue as the socket takes */
void conn_pump(struct conn *c); /* a new request into each free slot, then conn_send() */

/* reply.c: one recv, its replies, and the requests that follow from them */
void conn_recv(struct conn *c, int flags);

/* verify.c */
void stamp(uint8_t *block, uint64_t off, uint32_t seq);
void check(const uint8_t *block, uint64_t off, uint32_t seq);

/* phase.c: @limit 0 runs by time */
void run_phase(enum op op, uint64_t limit, bool measured, bool only_written);

/* processes.c, report.c */
void take_snap(struct snap *s, bool first);
void report(void);

#define GETTER(bits)                                             \
	static inline uint##bits##_t get##bits(const uint8_t *p) \
	{                                                        \
		uint##bits##_t v;                                \
		memcpy(&v, p, sizeof(v));                        \
		return be##bits##toh(v);                         \
	}
#define PUTTER(bits)                                               \
	static inline void put##bits(uint8_t *p, uint##bits##_t v) \
	{                                                          \
		v = htobe##bits(v);                                \
		memcpy(p, &v, sizeof(v));                          \
	}
GETTER(16)
GETTER(32)
GETTER(64)
PUTTER(16)
PUTTER(32)
PUTTER(64)
