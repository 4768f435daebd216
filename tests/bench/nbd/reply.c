/* tests/bench/nbd/reply.c -- takes replies in bulk and parses them in place, simple and structured. */

#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void complete(struct conn *c, struct slot *s)
{
	uint32_t id = (uint32_t)(s - c->slots);

	if (s->type == NBD_CMD_READ && !s->err && structured_on && s->got != opt.bs)
		die("protocol: structured read reply covers %u of %" PRIu64 " bytes", s->got, opt.bs);
	if (opt.verify && s->type != NBD_CMD_FLUSH) {
		uint64_t b = (s->off - opt.base) / opt.bs;

		if (s->type == NBD_CMD_READ && !s->err)
			check(c->data + (size_t)id * opt.bs, s->off, s->seq);
		if (s->type == NBD_CMD_WRITE && !s->err)
			block_seq[b] = s->seq;
		block_busy[b] = 0;
	}
	if (s->err)
		count.errors++;
	if (s->type == NBD_CMD_FLUSH) {
		count.flushes++;
		latency_add(&flush_latency, now - s->t0);
	} else {
		if (s->type == NBD_CMD_READ)
			count.reads++;
		else
			count.writes++;
		latency_add(&data_latency, now - s->t0);
	}
	s->busy = false;
	c->free[c->nfree++] = id;
	c->ninflight--;
}

static void reply_error(struct slot *s, uint32_t err)
{
	if (!s->err && count.errors < 5)
		fprintf(stderr, "nbdload: %s at %" PRIu64 ": error %u (%s)\n",
			s->type == NBD_CMD_READ	   ? "read"
			: s->type == NBD_CMD_WRITE ? "write"
						   : "flush",
			s->off, err, strerror((int)err));
	s->err = true;
}

/* how long the header is, as far as its first bytes tell */
static unsigned hdr_need(const uint8_t *h, size_t have)
{
	unsigned type;

	if (have < 16)
		return 16;
	if (get32(h) == NBD_SIMPLE_REPLY_MAGIC)
		return 16;
	if (get32(h) != NBD_STRUCTURED_REPLY_MAGIC)
		die("protocol: bad reply magic %#x", get32(h));
	if (have < 20)
		return 20;
	type = get16(h + 6);
	return 20 + (type == NBD_REPLY_TYPE_OFFSET_DATA		 ? 8
			    : type == NBD_REPLY_TYPE_OFFSET_HOLE ? 12
			    : type & CHUNK_ERROR_BIT		 ? 6
								 : 0);
}

static void simple_reply(struct conn *c, const uint8_t *h)
{
	struct slot *s = c->cur;

	if (structured_on && s->type == NBD_CMD_READ)
		die("protocol: simple reply to a read, structured was agreed");
	c->cur_done = true;
	if (get32(h + 4)) {
		reply_error(s, get32(h + 4));
	} else if (s->type == NBD_CMD_READ) {
		c->pay_left = opt.bs;
		c->pay_dst = opt.verify ? c->data + (size_t)(s - c->slots) * opt.bs : NULL;
	}
}

static void content_chunk(struct conn *c, const uint8_t *h, bool hole, uint32_t length)
{
	struct slot *s = c->cur;
	uint64_t off = get64(h + 20), n = hole ? get32(h + 28) : length - 8ULL;

	if (s->type != NBD_CMD_READ || (hole ? length != 12 : length < 9) || !n || off < s->off ||
		off - s->off > opt.bs || n > opt.bs - (off - s->off))
		die("protocol: bad content chunk");
	s->got += (uint32_t)n;
	c->pay_dst = opt.verify ? c->data + (size_t)(s - c->slots) * opt.bs + (off - s->off) : NULL;
	if (!hole)
		c->pay_left = n;
	else if (opt.verify)
		memset(c->pay_dst, 0, n);
}

static void chunk(struct conn *c, const uint8_t *h)
{
	unsigned type = get16(h + 6);
	uint32_t length = get32(h + 16);

	if (!structured_on)
		die("protocol: structured reply was not agreed");
	c->cur_done = get16(h + 4) & NBD_REPLY_FLAG_DONE;
	if (type == NBD_REPLY_TYPE_OFFSET_DATA || type == NBD_REPLY_TYPE_OFFSET_HOLE) {
		content_chunk(c, h, type == NBD_REPLY_TYPE_OFFSET_HOLE, length);
	} else if (type & CHUNK_ERROR_BIT) {
		if (length < 6)
			die("protocol: short error chunk");
		reply_error(c->cur, get32(h + 20));
		c->pay_left = length - 6;
		c->pay_dst = NULL;
	} else if (type != NBD_REPLY_TYPE_NONE || length || !c->cur_done) {
		die("protocol: unexpected chunk type %u, length %u", type, length);
	}
}

static void reply_header(struct conn *c, const uint8_t *h)
{
	uint64_t cookie = get64(h + 8);
	uint32_t id = (uint32_t)cookie;

	if (id >= opt.qd || !c->slots[id].busy || c->slots[id].gen != cookie >> 32)
		die("protocol: reply to a request not in flight, cookie %#" PRIx64, cookie);
	c->cur = &c->slots[id];
	if (get32(h) == NBD_SIMPLE_REPLY_MAGIC)
		simple_reply(c, h);
	else
		chunk(c, h);
	if (!c->pay_left && c->cur_done)
		complete(c, c->cur);
}

static void conn_parse(struct conn *c, const uint8_t *p, size_t n)
{
	while (n) {
		unsigned need;
		size_t k;

		if (c->pay_left) {
			k = n < c->pay_left ? n : c->pay_left;
			if (c->pay_dst) {
				memcpy(c->pay_dst, p, k);
				c->pay_dst += k;
			}
			p += k;
			n -= k;
			c->pay_left -= k;
			if (!c->pay_left && c->cur_done)
				complete(c, c->cur);
		} else if (!c->hlen && n >= REPLY_HEADER_MAX) { /* in place */
			need = hdr_need(p, n);
			reply_header(c, p);
			p += need;
			n -= need;
		} else { /* near the buffer's end */
			need = hdr_need(c->hbuf, c->hlen);
			k = n < need - c->hlen ? n : need - c->hlen;
			memcpy(c->hbuf + c->hlen, p, k);
			c->hlen += (unsigned)k;
			p += k;
			n -= k;
			if (c->hlen == hdr_need(c->hbuf, c->hlen)) {
				c->hlen = 0;
				reply_header(c, c->hbuf);
			}
		}
	}
}

/* The measured time begins after the warm-up and ends when it is over; both are seen between replies. */
static void phase_clock(void)
{
	if (!phase.measured || phase.stopping)
		return;
	if (!phase.measuring && now >= phase.t_meas) {
		take_snap(&at_start, true);
		memset(&data_latency, 0, sizeof data_latency);
		memset(&flush_latency, 0, sizeof flush_latency);
		count.reads = count.writes = count.flushes = 0;
		count.nrecv = count.nsend = count.nwait = 0;
		phase.measuring = true;
		now = clock_ns(CLOCK_MONOTONIC);
		phase.t_end = now + (uint64_t)(opt.runtime * 1e9);
	}
	if (!phase.limit && now >= phase.t_end)
		phase.stopping = true;
}

/* one recv, its replies, and the requests that follow from them */
void conn_recv(struct conn *c, int flags)
{
	enum { TRUNC_MIN = 32 << 10, PEEK = 4096 };
	size_t want = opt.rxbuf;
	bool drop = false;
	ssize_t n;

	if (c->tcp && opt.trunc && !opt.verify && opt.bs >= TRUNC_MIN) {
		drop = c->pay_left >= PEEK; /* leave the payload in the kernel */
		want = drop ? c->pay_left : PEEK;
	}
	n = recv(c->fd, rxbuf, want, flags | (drop ? MSG_TRUNC : 0));
	count.nrecv++;
	now = clock_ns(CLOCK_MONOTONIC);
	if (n <= 0) {
		if (n < 0 && errno == EINTR)
			return;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			if (!(flags & MSG_DONTWAIT))
				die("no reply for %g s", opt.timeout);
			return;
		}
		die("recv: %s", n ? strerror(errno) : "server closed the connection");
	}
	if (drop) { /* the bytes exist only as a count */
		c->pay_left -= (size_t)n;
		if (!c->pay_left && c->cur_done)
			complete(c, c->cur);
	} else {
		conn_parse(c, rxbuf, (size_t)n);
	}
	phase_clock();
	conn_pump(c);
}
