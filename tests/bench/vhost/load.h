/* tests/bench/vhost/load.h -- what vuload's command line, its worker threads and its report share. */
#pragma once

#include <pthread.h>

#include "tests/bench/latency.h"
#include "vu.h"

enum { BACKENDS_MAX = 8 };

/* What the command line says; vuload.c holds the defaults and the help text. */
struct options {
	const char *pattern;
	unsigned bs, qd, nq, nseg, batch, flush_every, rdpct, nreg, qsize;
	bool rnd, one_thread, verify, prefill, filled, json, poll, indirect, event_idx, packed, in_order,
		inflight, info;
	int wce; /* -1: as the device has it */
	double secs, warmup;
	uint64_t ops, range, seed, nblocks;
	int backend[BACKENDS_MAX], backends; /* processes whose CPU time is reported */
};

struct slot { /* one request: its place in guest memory */
	uint64_t t0, blk;
	uint32_t gen, type;
	struct blkhdr *hdr;
	uint8_t *status, **buf;
	struct seg *seg;
};

struct qctx { /* one queue and its requests; its worker's alone */
	struct vq *q;
	struct slot *slot;
	uint16_t *freel;
	unsigned nfree, writes_since;
	uint64_t rng, pos, lo, hi; /* blocks [lo, hi) are this queue's in a sequential pattern */
	uint64_t ops[2], flushes;
	struct latency data, flush;
};

struct worker {
	pthread_t thr;
	struct qctx *c;
	unsigned n;
	int call;
	_Atomic uint64_t progress; /* requests completed; the main thread watches for a stall */
	uint64_t calls, budget, errors, mismatches, badlen, verified;
	uint8_t *tmp, *exp;
	atomic_bool done;
};

enum phase { PHASE_WARM_UP, PHASE_MEASURED, PHASE_STOPPING };

extern struct options opt;
extern struct vu device;
extern atomic_int phase; /* main thread writes, workers read */

/* Verification, shared by the workers: a block is one request's at a time; busy[] says whose turn it is not, and guards
 * gens[]. */
extern uint32_t *gens;
extern _Atomic uint8_t *busy;

/* setup.c: each ends the program when the device refuses or does not offer what the options need */
void device_open(void);
void device_configure(void);
void queues_start(struct worker *workers, unsigned count, struct qctx *queues);

/* gives back what queues_start() took; after the device is closed */
void queues_end(struct worker *workers, unsigned count, struct qctx *queues);

/* run.c: returns the exit status */
int load_run(void);

/* worker.c */
void slots_init(struct qctx *c);
void slots_free(struct qctx *c);
void *worker_run(void *worker);
