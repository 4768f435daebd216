/* tests/bench/vhost/mock_ring.c -- the device side of split and packed virtqueues, and the requests on them. */
#include "mock.h"

#include "server/nbd_wire.h"

void push(struct ring *r, uint16_t id, uint32_t n)
{
	r->used->ring[r->uidx % r->num] = (struct usedel){ id, n };
	ST(r->used->idx, ++r->uidx);
}

static int dwz(struct iovec *in, int n, size_t len, uint32_t type)
{
	struct dwz s;
	if (len % 16 || !len)
		return S_IOERR;
	for (size_t o = 16; o < 16 + len; o += 16) {
		copy(in, n, o, (uint8_t *)&s, 16, false);
		if (s.flags & ~(type == T_WRITE_ZEROES ? 1u : 0u))
			return S_UNSUPP;
		if (s.num > cfg.max_wz || s.sector > cfg.capacity || s.num > cfg.capacity - s.sector ||
			o > 16)
			return S_IOERR;
		memset(disk + s.sector * 512, 0, s.num * 512ul);
	}
	return S_OK;
}

enum { SERVE_MALFORMED = -1, SERVE_LATER = -2 };

/* @in: readable, @out: writable. Returns the bytes written, SERVE_LATER, or SERVE_MALFORMED: no place for a status. */
static long serve(struct ring *r, uint16_t id, struct iovec *in, int nin, size_t ilen, struct iovec *out,
	int nout, size_t olen)
{
	struct blkhdr h;
	uint8_t st = S_OK;
	size_t n = 0;
	if (ilen < 16 || olen < 1)
		return -1;
	copy(in, nin, 0, (uint8_t *)&h, 16, false);
	ilen -= 16;
	olen -= 1;
	size_t len = h.type == T_IN ? olen : ilen;
	switch (h.type) {
	case T_IN:
	case T_OUT:
		if (!len || len % 512 || h.sector > cfg.capacity || len / 512 > cfg.capacity - h.sector)
			st = S_IOERR;
		else if (nbd >= 0) {
			nbd_submit(r, id, h.type == T_IN ? NBD_CMD_READ : NBD_CMD_WRITE, h.sector * 512, len,
				in, nin, out, nout);
			return SERVE_LATER;
		} else if (h.type == T_IN) {
			n = copy(out, nout, 0, disk + h.sector * 512, len, true);
			if (corrupt_every && ++reads % corrupt_every == 0)
				*(uint8_t *)out[0].iov_base ^= 1;
		} else
			copy(in, nin, 16, disk + h.sector * 512, len, false);
		break;
	case T_FLUSH:
		if (nbd < 0)
			break;
		nbd_submit(r, id, NBD_CMD_FLUSH, 0, 0, in, nin, out, nout);
		return SERVE_LATER;
	case T_GET_ID:
		n = copy(out, nout, 0, (uint8_t *)"vumock\0\0\0\0\0\0\0\0\0\0\0\0\0\0", olen < 20 ? olen : 20,
			true);
		break;
	case T_DISCARD:
	case T_WRITE_ZEROES:
		st = (uint8_t)dwz(in, nin, ilen, h.type);
		break;
	default:
		st = S_UNSUPP;
	}
	copy(out, nout, olen, &st, 1, true);
	return (long)(n == olen ? n + 1 : n);
}

/* One descriptor into the lists; false when malformed. */
static bool take(
	uint64_t addr, uint32_t len, bool w, struct iovec *v, int *nin, int *nout, size_t *il, size_t *ol)
{
	void *p = at(addr, len, false, 1);
	if (!p || !len || *nin + *nout >= MAXSEG || (!w && *nout))
		return false;
	v[*nin + *nout] = (struct iovec){ p, len };
	++*(w ? nout : nin);
	*(w ? ol : il) += len;
	return true;
}

static bool pop_split(
	struct ring *r, uint16_t head, struct iovec *v, int *nin, int *nout, size_t *il, size_t *ol)
{
	struct sdesc *t = r->desc;
	uint32_t max = r->num, steps = 0;
	for (uint16_t i = head;;) {
		if (i >= max || steps++ >= (max < r->num ? max : r->num))
			return false;
		struct sdesc d = t[i];
		if (d.flags & D_INDIRECT) {
			if (t != r->desc || d.flags & D_NEXT || !(features & F_INDIRECT) || !d.len ||
				d.len % 16 || d.len / 16 > 65535 || !(t = at(d.addr, d.len, false, 1)))
				return false;
			max = d.len / 16;
			i = 0;
			steps = 0;
			continue;
		}
		if (!take(d.addr, d.len, d.flags & D_WRITE, v, nin, nout, il, ol))
			return false;
		if (!(d.flags & D_NEXT))
			return true;
		i = d.next;
	}
}

static bool bump(struct ring *r, uint16_t *i, bool *w)
{
	if (++*i == r->num) {
		*i = 0;
		*w = !*w;
		return true;
	}
	return false;
}

static int pop_packed(
	struct ring *r, uint16_t *id, struct iovec *v, int *nin, int *nout, size_t *il, size_t *ol)
{
	int n = 0;
	for (;;) {
		struct pdesc d = ((struct pdesc *)r->desc)[r->last];
		if (++n > (int)r->num)
			return -1;
		bump(r, &r->last, &r->aw);
		if (d.flags & D_INDIRECT) {
			struct pdesc *t = at(d.addr, d.len, false, 1);
			if (n > 1 || d.flags & D_NEXT || !t || !d.len || d.len % 16)
				return -1;
			for (uint32_t k = 0; k < d.len / 16; k++) {
				struct pdesc e = t[k];
				if (!take(e.addr, e.len, e.flags & D_WRITE, v, nin, nout, il, ol))
					return -1;
			}
		} else if (!take(d.addr, d.len, d.flags & D_WRITE, v, nin, nout, il, ol))
			return -1;
		if (!(d.flags & D_NEXT)) {
			*id = d.id;
			return n;
		}
	}
}

void notify(struct ring
		*r) /* split: signal if the driver wants to know about what was pushed since the last time */
{
	uint64_t one = 1;
	uint16_t old = r->signalled;
	atomic_thread_fence(memory_order_seq_cst);
	r->signalled = r->uidx;
	if (r->on && r->uidx != old &&
		(features & F_EVENT_IDX ? crossed(LD(r->avail->ring[r->num]), r->uidx, old)
					: !(LD(r->avail->flags) & 1)))
		(void)!write(r->call, &one, 8);
}

static uint16_t *avail_event(struct ring *r)
{
	return (uint16_t *)&r->used->ring[r->num];
}

static bool has_request(struct ring *r)
{
	uint16_t flags;

	if (!(features & F_PACKED))
		return LD(r->avail->idx) != r->last;
	flags = LD(((struct pdesc *)r->desc)[r->last].flags);
	return !!(flags & D_AVAIL) == r->aw && !!(flags & D_USED) != r->aw;
}

/* Asks for a kick at the next request; the caller looks once more afterwards. */
static void arm(struct ring *r)
{
	bool packed = features & F_PACKED, event_idx = features & F_EVENT_IDX;

	if (packed && event_idx) {
		ST(((struct pevent *)r->used)->off_wrap, (uint16_t)(r->last | r->aw << 15));
		ST(((struct pevent *)r->used)->flags, 2);
	} else if (event_idx) {
		ST(*avail_event(r), r->last);
	}
	atomic_thread_fence(memory_order_seq_cst);
}

static void push_packed(struct ring *r, uint16_t id, uint32_t length, int descriptors)
{
	struct pdesc *d = &((struct pdesc *)r->desc)[r->puse];

	d->id = id;
	d->len = length;
	ST(d->flags, (uint16_t)((length ? D_WRITE : 0) | (r->uw ? D_AVAIL | D_USED : 0)));
	for (int i = 0; i < descriptors; i++)
		bump(r, &r->puse, &r->uw);
}

static void notify_packed(struct ring *r, uint16_t used_descs)
{
	struct pevent *e = (struct pevent *)r->avail;
	uint16_t flags, off_wrap, event;
	uint64_t one = 1;

	atomic_thread_fence(memory_order_seq_cst);
	flags = LD(e->flags) & 3;
	off_wrap = LD(e->off_wrap);
	event = off_wrap & 0x7fff;
	if ((off_wrap >> 15) != r->uw)
		event = (uint16_t)(event - r->num);
	if (used_descs && (flags == 0 || (flags == 2 && (!(features & F_EVENT_IDX) ||
								crossed(event, r->puse,
									(uint16_t)(r->puse - used_descs))))))
		(void)!write(r->call, &one, 8);
}

/* Takes one request and serves it. Returns the descriptors it used up, 0: it is answered later, -1: malformed. */
static int serve_one(struct ring *r)
{
	static struct iovec v[MAXSEG + 1], out[MAXSEG + 1];
	bool packed = features & F_PACKED;
	int nin = 0, nout = 0, descriptors = 1;
	size_t readable = 0, writable = 0;
	uint16_t id = 0;
	long length;

	if (packed) {
		descriptors = pop_packed(r, &id, v, &nin, &nout, &readable, &writable);
		if (descriptors < 0)
			return -1;
	} else {
		if ((uint16_t)(LD(r->avail->idx) - r->last) > r->num)
			return -1;
		id = r->avail->ring[r->last++ % r->num];
		if (!pop_split(r, id, v, &nin, &nout, &readable, &writable))
			return -1;
	}
	memcpy(out, v + nin, sizeof(*v) * (size_t)nout);
	length = serve(r, id, v, nin, readable, out, nout, writable);
	if (length < 0)
		return length == SERVE_LATER ? 0 : -1;
	if (packed)
		push_packed(r, id, (uint32_t)length, descriptors);
	else
		push(r, id, (uint32_t)length);
	return descriptors;
}

/* Serves requests until there are none; false: one was malformed. */
static bool serve_all(struct ring *r, uint16_t *used_descs)
{
	bool armed = false;

	for (;;) {
		if (has_request(r)) {
			int used;

			if (nbd >= 0 && nbd_full())
				return true; /* on_replies() comes back here */
			used = serve_one(r);
			if (used < 0)
				return false;
			*used_descs = (uint16_t)(*used_descs + used);
			armed = false;
		} else if (armed || (features & F_PACKED && !(features & F_EVENT_IDX))) {
			return true;
		} else {
			arm(r);
			armed = true;
		}
	}
}

void run_ring(struct ring *r)
{
	uint16_t used_descs = 0;

	if (!r->on || !r->enabled || r->broken)
		return;
	r->broken = !serve_all(r, &used_descs);
	if (r->broken)
		fprintf(stderr, "vumock: ring stopped on a malformed chain\n");
	if (nbd >= 0)
		nbd_send();
	if (features & F_PACKED)
		notify_packed(r, used_descs);
	else
		notify(r);
}
