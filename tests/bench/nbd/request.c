/* tests/bench/nbd/request.c -- chooses operations and sends their requests, as many as fit in one sendmsg. */

#include "load.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* chooses the next operation for a free slot; false: nothing to do now */
static bool gen_op(struct conn *c, struct slot *s)
{
	bool rd = phase.op == OP_RANDREAD || phase.op == OP_READ;
	bool rand = phase.op == OP_RANDREAD || phase.op == OP_RANDWRITE || phase.op == OP_RANDRW;
	uint64_t b, tries = 0;

	if (phase.measured && opt.flush_every && c->unflushed >= opt.flush_every) {
		c->unflushed = 0;
		s->type = NBD_CMD_FLUSH;
		s->off = 0;
		return true;
	}
	if (phase.limit && phase.issued >= phase.limit)
		return false;
	if (phase.op == OP_RANDRW || phase.op == OP_RW)
		rd = rnd_below(100) < opt.mix;
	b = rand ? rnd_below(nblocks) : phase.cursor;
	if (opt.verify) { /* never two operations on one block at a time */
		while (block_busy[b] || (phase.only_written && !block_seq[b])) {
			if (++tries > nblocks)
				return false;
			b = b + 1 == nblocks ? 0 : b + 1;
		}
		block_busy[b] = 1;
	}
	if (!rand)
		phase.cursor = b + 1 == nblocks ? 0 : b + 1;
	phase.issued++;
	s->off = opt.base + b * opt.bs;
	s->type = rd ? NBD_CMD_READ : NBD_CMD_WRITE;
	if (!rd) {
		c->unflushed++;
		if (opt.verify) {
			s->seq = block_seq[b] + 1;
			block_seq[b] = 0; /* unknown until the reply */
			if (!s->seq)
				s->seq = 1;
			stamp(c->data + (size_t)(s - c->slots) * opt.bs, s->off, s->seq);
		}
	} else if (opt.verify) {
		s->seq = block_seq[b];
	}
	return true;
}

static void want_out(struct conn *c, bool on)
{
	struct epoll_event ev = { .events = EPOLLIN | (on ? EPOLLOUT : 0u), .data.ptr = c };

	if (c->want_out != on && epoll_ctl(epfd, EPOLL_CTL_MOD, c->fd, &ev))
		die("epoll_ctl: %s", strerror(errno));
	c->want_out = on;
}

enum { BATCH_REQUESTS_MAX = 512, BATCH_BYTES = 4 << 20 }; /* enough for one call */

static void request_header(uint8_t *h, const struct slot *s, uint32_t id)
{
	put32(h, NBD_REQUEST_MAGIC);
	put16(h + 4, s->type == NBD_CMD_WRITE && phase.measured && opt.fua ? NBD_CMD_FLAG_FUA : 0);
	put16(h + 6, s->type);
	put64(h + 8, (uint64_t)s->gen << 32 | id);
	put64(h + 16, s->off);
	put32(h + 24, s->type == NBD_CMD_FLUSH ? 0 : (uint32_t)opt.bs);
}

/* Lays out the first requests of the queue, neighbouring headers in one piece. Returns the pieces, and in *@requests
 * how many requests they are. */
static unsigned gather(const struct conn *c, struct iovec *iov, unsigned *requests)
{
	static uint8_t headers[BATCH_REQUESTS_MAX][REQUEST_LEN];
	unsigned max = opt.batch && opt.batch < BATCH_REQUESTS_MAX ? opt.batch : BATCH_REQUESTS_MAX;
	unsigned wanted = c->queued < max ? c->queued : max, pieces = 0, n;
	size_t bytes = 0;

	for (n = 0; n < wanted && bytes <= BATCH_BYTES; n++) {
		uint32_t id = c->fifo[(c->head + n) % opt.qd];
		uint8_t *h = headers[n];

		request_header(h, &c->slots[id], id);
		if (pieces && (uint8_t *)iov[pieces - 1].iov_base + iov[pieces - 1].iov_len == h)
			iov[pieces - 1].iov_len += REQUEST_LEN;
		else
			iov[pieces++] = (struct iovec){ h, REQUEST_LEN };
		if (c->slots[id].type == NBD_CMD_WRITE) {
			uint8_t *data = opt.verify ? c->data + (size_t)id * opt.bs : wdata;

			iov[pieces++] = (struct iovec){ data, opt.bs };
			bytes += opt.bs;
		}
	}
	*requests = n;
	return pieces;
}

/* Leaves out the @skip bytes that an earlier call already sent. */
static void message_skip(struct msghdr *m, size_t skip)
{
	while (skip) {
		size_t part = skip < m->msg_iov->iov_len ? skip : m->msg_iov->iov_len;

		m->msg_iov->iov_base = (uint8_t *)m->msg_iov->iov_base + part;
		m->msg_iov->iov_len -= part;
		skip -= part;
		if (!m->msg_iov->iov_len) {
			m->msg_iov++;
			m->msg_iovlen--;
		}
	}
}

/* Returns the bytes sent: 0 when the socket is full. */
static size_t message_send(int fd, const struct msghdr *m)
{
	enum { FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL };
	ssize_t sent;

	do {
		sent = m->msg_iovlen == 1 ? send(fd, m->msg_iov->iov_base, m->msg_iov->iov_len, FLAGS)
					  : sendmsg(fd, m, FLAGS);
		count.nsend++;
	} while (sent < 0 && errno == EINTR);
	if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
		die("send: %s", strerror(errno));
	return sent < 0 ? 0 : (size_t)sent;
}

/* Takes the requests that have left in full off the queue; false: some of the @requests have not. */
static bool dequeue_sent(struct conn *c, size_t sent, unsigned requests)
{
	size_t left = c->head_sent + sent;

	for (; requests; requests--) {
		uint32_t id = c->fifo[c->head];
		size_t length = REQUEST_LEN + (c->slots[id].type == NBD_CMD_WRITE ? opt.bs : 0);

		if (left < length)
			break;
		left -= length;
		c->head = (c->head + 1) % opt.qd;
		c->queued--;
	}
	c->head_sent = left;
	return !requests;
}

void conn_send(struct conn *c)
{
	static struct iovec iov[2 * BATCH_REQUESTS_MAX];

	while (c->queued) {
		unsigned requests;
		struct msghdr m = { .msg_iov = iov, .msg_iovlen = gather(c, iov, &requests) };

		message_skip(&m, c->head_sent);
		if (!dequeue_sent(c, message_send(c->fd, &m), requests))
			break; /* the socket is full */
	}
	want_out(c, c->queued > 0);
}

void conn_pump(struct conn *c)
{
	while (c->nfree && !phase.stopping) {
		uint32_t id = c->free[c->nfree - 1];
		struct slot *s = &c->slots[id];

		if (!gen_op(c, s))
			break;
		c->nfree--;
		s->t0 = now;
		s->gen++;
		s->got = 0;
		s->err = false;
		s->busy = true;
		c->ninflight++;
		c->fifo[(c->head + c->queued++) % opt.qd] = id;
	}
	if (c->queued)
		conn_send(c);
}
