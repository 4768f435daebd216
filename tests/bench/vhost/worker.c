/* tests/bench/vhost/worker.c -- keeps the queues of one thread full and checks what comes back. */
#include "load.h"

#include <poll.h>
#include <string.h>

atomic_int phase;
uint32_t *gens;
_Atomic uint8_t *busy;
static _Atomic uint32_t next_gen = 1;

static uint64_t rnd64(uint64_t *s)
{
	uint64_t x = *s;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *s = x;
}

/* Content of a sector is a function of its number, the generation of the write and the seed. */
static void stamp(uint8_t *p, uint64_t sector, uint32_t gen)
{
	uint64_t w[64], x = (sector + 1) * 0x9e3779b97f4a7c15ull ^ ((uint64_t)gen << 32) ^
			    opt.seed * 0xd6e8feb86659fd93ull;
	w[0] = 0x76756c6f61640000ull ^ sector;
	w[1] = gen;
	for (unsigned i = 2; i < 64; i++)
		w[i] = x = x * 6364136223846793005ull + 1442695040888963407ull;
	memcpy(p, w, 512);
}

static void stamp_block(uint8_t *p, uint64_t blk, uint32_t gen)
{
	for (uint64_t i = 0; i < opt.bs / 512; i++)
		stamp(p + i * 512, blk * (opt.bs / 512) + i, gen);
}

static bool pick(struct qctx *c, struct slot *s)
{
	for (int tries = 0; tries < 1000; tries++) {
		if (opt.rnd)
			s->blk = c->lo + rnd64(&c->rng) % (c->hi - c->lo);
		else {
			s->blk = c->pos;
			c->pos = c->pos + 1 < c->hi ? c->pos + 1 : c->lo;
		}
		uint8_t z = 0;
		if (!busy || atomic_compare_exchange_strong(&busy[s->blk], &z, 1))
			return true;
	}
	return false;
}

static bool submit(struct worker *w, struct qctx *c)
{
	uint16_t id = c->freel[c->nfree - 1];
	struct slot *s = &c->slot[id];
	unsigned n = opt.nseg;
	s->type = opt.rdpct == 100 || (opt.rdpct && rnd64(&c->rng) % 100 < opt.rdpct) ? T_IN : T_OUT;
	s->hdr->sector = 0;
	if (s->type == T_OUT && opt.flush_every && c->writes_since >= opt.flush_every) {
		s->type = T_FLUSH;
		c->writes_since = 0;
		n = 0;
	} else if (!pick(c, s))
		return false;
	else {
		s->hdr->sector = s->blk * (opt.bs / 512);
		for (unsigned i = 1; i <= n; i++)
			s->seg[i].w = s->type == T_IN;
	}
	c->nfree--;
	if (s->type == T_OUT) {
		c->writes_since++;
		if (opt.verify) {
			s->gen = opt.prefill ? 0 : atomic_fetch_add(&next_gen, 1);
			stamp_block(w->tmp, s->blk, s->gen);
			for (unsigned i = 0, off = 0; i < n; off += s->seg[++i].len)
				memcpy(s->buf[i], w->tmp + off, s->seg[i + 1].len);
		}
	}
	s->hdr->type = s->type;
	*s->status = 0xff;
	s->t0 = now_ns();
	if (n == opt.nseg)
		vq_add(&device, c->q, s->seg, n + 2, id);
	else
		vq_add(&device, c->q, (struct seg[]){ s->seg[0], s->seg[opt.nseg + 1] }, 2, id);
	return true;
}

static void verify_read(struct worker *w, struct slot *s)
{
	bool bad = false;

	stamp_block(w->exp, s->blk, gens[s->blk]);
	for (unsigned i = 0, off = 0; i < opt.nseg; off += s->seg[++i].len)
		bad |= memcmp(s->buf[i], w->exp + off, s->seg[i + 1].len) != 0;
	w->verified++;
	if (bad && w->mismatches++ < 5)
		fprintf(stderr, "vuload: MISMATCH block %llu generation %u: got sector word %llx gen %llx\n",
			(unsigned long long)s->blk, gens[s->blk], *(unsigned long long *)s->buf[0],
			((unsigned long long *)s->buf[0])[1]);
	for (unsigned i = 0; i < opt.nseg; i++)
		memset(s->buf[i], 0xa5, s->seg[i + 1].len);
}

static void measure(struct qctx *c, const struct slot *s, uint64_t latency_ns)
{
	if (s->type == T_FLUSH) {
		c->flushes++;
		latency_add(&c->flush, latency_ns);
	} else {
		c->ops[s->type]++;
		latency_add(&c->data, latency_ns);
	}
}

static void complete(struct worker *w, struct qctx *c, int id, uint32_t len)
{
	struct slot *s = &c->slot[id];
	uint64_t lat = now_ns() - s->t0;

	if (*s->status != S_OK && w->errors++ < 5)
		fprintf(stderr, "vuload: type %u block %llu: status %u\n", s->type,
			(unsigned long long)s->blk, *s->status);
	if (len > 1 + (s->type == T_IN ? opt.bs : 0))
		w->badlen++;
	if (atomic_load_explicit(&phase, memory_order_relaxed) == PHASE_MEASURED)
		measure(c, s, lat);
	if (opt.verify && s->type == T_IN && *s->status == S_OK && (gens[s->blk] || opt.filled))
		verify_read(w, s);
	if (busy && s->type != T_FLUSH) {
		if (s->type == T_OUT)
			gens[s->blk] = s->gen;
		atomic_store(&busy[s->blk], 0);
	}
	c->freel[c->nfree++] = (uint16_t)id;
	atomic_fetch_add_explicit(&w->progress, 1, memory_order_relaxed);
}

static void refill(struct worker *w, struct qctx *c)
{
	unsigned k = 0, limit = opt.batch ? opt.batch : ~0u;
	while (c->nfree && atomic_load_explicit(&phase, memory_order_relaxed) != PHASE_STOPPING &&
		w->budget) {
		if (!submit(w, c))
			break;
		w->budget--;
		if (++k == limit) {
			vq_kick(c->q, false);
			k = 0;
		}
	}
	if (k)
		vq_kick(c->q, false);
}

void slots_init(struct qctx *c)
{
	unsigned seglen = opt.bs / opt.nseg;
	if (seglen >= 512)
		seglen &= ~511u;
	c->slot = calloc(opt.qd, sizeof(*c->slot));
	c->freel = calloc(opt.qd, sizeof(*c->freel));
	for (unsigned i = 0; i < opt.qd; i++) {
		struct slot *s = &c->slot[i];
		unsigned reg = i % opt.nreg;
		uint8_t *h = mem_alloc(&device.m, 0, 64, 64);
		s->hdr = (struct blkhdr *)h;
		s->status = h + 32;
		s->buf = calloc(opt.nseg, sizeof(*s->buf));
		s->seg = calloc(opt.nseg + 2, sizeof(*s->seg));
		s->seg[0] = (struct seg){ mem_gpa(&device.m, s->hdr), 16, false };
		s->seg[opt.nseg + 1] = (struct seg){ mem_gpa(&device.m, s->status), 1, true };
		for (unsigned k = opt.nseg;
			k-- > 0;) { /* descending addresses: neighbours cannot be merged */
			uint32_t len = k + 1 < opt.nseg ? seglen : opt.bs - seglen * (opt.nseg - 1);
			s->buf[k] = mem_alloc(&device.m, reg, len, 4096);
			s->seg[k + 1] = (struct seg){ mem_gpa(&device.m, s->buf[k]), len, false };
			memset(s->buf[k], 0xa5, len);
		}
		c->freel[c->nfree++] = (uint16_t)i;
	}
}

void slots_free(struct qctx *c)
{
	for (unsigned i = 0; i < opt.qd; i++) {
		free(c->slot[i].buf);
		free(c->slot[i].seg);
	}
	free(c->slot);
	free(c->freel);
}

static uint64_t wait_for_call(struct worker *w)
{
	uint64_t calls = 0;

	while (read(w->call, &calls, 8) != 8) {
		struct pollfd call = { w->call, POLLIN, 0 };

		if (errno != EAGAIN && errno != EINTR)
			die("call eventfd: %s", strerror(errno));
		poll(&call, 1, -1);
	}
	return calls;
}

/* Takes what is used and refills; true: more became used while it asked for the next call. */
static bool serve_queue(struct worker *w, struct qctx *c)
{
	uint32_t len;
	int id;

	vq_disarm(c->q);
	while ((id = vq_get(c->q, &len)) != -1) {
		if (id < 0 || (unsigned)id >= opt.qd)
			die("queue %u: bogus used entry", c->q->index);
		complete(w, c, id, len);
	}
	refill(w, c);
	return !opt.poll && vq_arm(c->q);
}

/* Serves the worker's queues until none has more; true: all are idle. */
static bool serve_queues(struct worker *w)
{
	unsigned idle;
	bool again;

	do {
		again = false;
		idle = 0;
		for (unsigned i = 0; i < w->n; i++) {
			again |= serve_queue(w, &w->c[i]);
			idle += w->c[i].nfree == opt.qd;
		}
	} while (again);
	return idle == w->n;
}

void *worker_run(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < w->n; i++) {
		if (!opt.poll)
			vq_arm(w->c[i].q);
		refill(w, &w->c[i]);
	}
	for (;;) {
		uint64_t calls = opt.poll ? 0 : wait_for_call(w);

		if (phase == PHASE_MEASURED)
			w->calls += calls;
		if (serve_queues(w) && (phase == PHASE_STOPPING || !w->budget))
			break;
	}
	w->done = true;
	return NULL;
}
