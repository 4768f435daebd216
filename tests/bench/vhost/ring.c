/* tests/bench/vhost/ring.c -- the driver side of split and packed virtqueues. */
#include "vu.h"
#include <sys/eventfd.h>

#define LD(x)	   __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define ST(x, val) __atomic_store_n(&(x), (val), __ATOMIC_RELEASE)
#define MB()	   atomic_thread_fence(memory_order_seq_cst)

/* Slot s owns split descriptors [s*stride, (s+1)*stride), so no free list is needed. */
int vq_init(struct vu *v, struct vq *q, unsigned index, unsigned size, unsigned nslots, unsigned maxseg,
	bool indirect, int shared_call)
{
	struct mem *m = &v->m;
	memset(q, 0, sizeof(*q));
	q->index = index;
	q->size = size;
	q->packed = v->features & F_PACKED;
	q->event_idx = v->features & F_EVENT_IDX;
	q->in_order = v->features & F_IN_ORDER;
	q->indirect = indirect && v->features & F_INDIRECT;
	q->stride = q->indirect ? 1 : maxseg;
	q->desc = mem_alloc(m, 0, 16ul * size, 4096);
	q->avail = mem_alloc(m, 0, q->packed ? 4 : 6 + 2ul * size, 64);
	q->used = mem_alloc(m, 0, q->packed ? 4 : 6 + 8ul * size, 4096);
	q->avail_wrap = q->used_wrap = true;
	q->count = calloc(size, sizeof(*q->count));
	q->turns = calloc(size, sizeof(*q->turns));
	if (q->indirect) {
		q->itab = calloc(nslots, sizeof(*q->itab));
		for (unsigned i = 0; i < nslots; i++)
			q->itab[i] = mem_alloc(m, 0, 16ul * maxseg, 64);
	}
	q->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* as QEMU's are: a back-end may not have to look whether a write would block */
	q->call = shared_call >= 0 ? dup(shared_call) : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return q->kick < 0 || q->err < 0 || q->call < 0 || !q->count || !q->turns ? -1 : 0;
}

void vq_free(struct vq *q)
{
	close(q->kick);
	close(q->err);
	close(q->call);
	free(q->count);
	free(q->turns);
	free(q->itab);
	memset(q, 0, sizeof(*q));
}

static uint16_t *used_event(struct vq *q)
{
	return &q->avail->ring[q->size];
}
static uint16_t *avail_event(struct vq *q)
{
	return (uint16_t *)&q->used->ring[q->size];
}
static bool crossed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

static void add_split(struct vu *v, struct vq *q, const struct seg *s, unsigned n, uint16_t slot)
{
	uint16_t head = (uint16_t)(slot * q->stride);
	struct sdesc *d = q->indirect ? (struct sdesc *)q->itab[slot] : q->desc + head;
	uint16_t first = q->indirect ? 0 : head;
	for (unsigned i = 0; i < n; i++)
		d[i] = (struct sdesc){ s[i].gpa, s[i].len,
			(uint16_t)((s[i].w ? D_WRITE : 0) | (i + 1 < n ? D_NEXT : 0)),
			(uint16_t)(first + i + 1) };
	if (q->indirect)
		q->desc[head] = (struct sdesc){ mem_gpa(&v->m, d), 16 * n, D_INDIRECT, 0 };
	q->avail->ring[q->avail_idx++ % q->size] = head;
}

static void add_packed(struct vu *v, struct vq *q, const struct seg *s, unsigned n, uint16_t slot)
{
	struct seg one;
	uint16_t extra = 0, head = q->next_avail, head_flags = 0;
	if (q->indirect) {
		struct pdesc *t = (struct pdesc *)q->itab[slot];
		for (unsigned i = 0; i < n; i++)
			t[i] = (struct pdesc){ s[i].gpa, s[i].len, 0, s[i].w ? D_WRITE : 0 };
		one = (struct seg){ mem_gpa(&v->m, t), 16 * n, false };
		s = &one;
		n = 1;
		extra = D_INDIRECT;
	}
	for (unsigned i = 0; i < n; i++) {
		struct pdesc *d = &q->pdesc[q->next_avail];
		uint16_t f = (uint16_t)(extra | (s[i].w ? D_WRITE : 0) | (i + 1 < n ? D_NEXT : 0) |
					(q->avail_wrap ? D_AVAIL : D_USED));
		d->addr = s[i].gpa;
		d->len = s[i].len;
		d->id = slot;
		if (i)
			d->flags = f;
		else
			head_flags = f;
		if (++q->next_avail == q->size) {
			q->next_avail = 0;
			q->avail_wrap = !q->avail_wrap;
		}
	}
	q->count[slot] = (uint16_t)n;
	q->added = (uint16_t)(q->added + n);
	ST(q->pdesc[head].flags, head_flags);
}

void vq_add(struct vu *v, struct vq *q, const struct seg *s, unsigned n, uint16_t slot)
{
	if (q->packed)
		add_packed(v, q, s, n, slot);
	else
		add_split(v, q, s, n, slot);
	q->turns[q->turn_add++ % q->size] = slot;
}

/* Publishes what was added and notifies the device unless it asked not to be. */
bool vq_kick(struct vq *q, bool force)
{
	bool need;
	if (q->packed) {
		MB();
		uint16_t new = q->next_avail, old = (uint16_t)(new - q->added), fl = LD(q->dev->flags) & 3;
		if (fl == 2 && q->event_idx) {
			uint16_t ow = LD(q->dev->off_wrap), ev = ow & 0x7fff;
			if ((ow >> 15) != q->avail_wrap)
				ev = (uint16_t)(ev - q->size);
			need = crossed(ev, new, old);
		} else
			need = fl != 1;
		need = need && q->added;
		q->added = 0;
	} else {
		uint16_t old = q->kicked;
		ST(q->avail->idx, q->avail_idx);
		MB();
		need = q->event_idx ? crossed(LD(*avail_event(q)), q->avail_idx, old)
				    : !(LD(q->used->flags) & 1);
		need = need && q->avail_idx != old;
		q->kicked = q->avail_idx;
	}
	if (need || force) {
		uint64_t one = 1;
		atomic_fetch_add_explicit(&q->kicks, 1, memory_order_relaxed);
		if (write(q->kick, &one, 8) != 8 && errno != EAGAIN)
			die("kick: %s", strerror(errno));
	}
	return need;
}

static bool more(struct vq *q)
{
	if (!q->packed)
		return LD(q->used->idx) != q->last_used;
	uint16_t f = LD(q->pdesc[q->next_used].flags);
	return !!(f & D_AVAIL) == q->used_wrap && !!(f & D_USED) == q->used_wrap;
}

static int next_used(struct vq *q, uint32_t *len)
{
	if (!more(q))
		return -1;
	if (!q->packed) {
		struct usedel *e = &q->used->ring[q->last_used++ % q->size];
		*len = e->len;
		return e->id < q->size && e->id % q->stride == 0 ? (int)(e->id / q->stride) : -2;
	}
	struct pdesc *d = &q->pdesc[q->next_used];
	uint16_t id = d->id;
	if (id >= q->size || !q->count[id])
		return -2;
	*len = d->flags & D_WRITE ? d->len : 0;
	q->next_used = (uint16_t)(q->next_used + q->count[id]);
	q->count[id] = 0;
	if (q->next_used >= q->size) {
		q->next_used = (uint16_t)(q->next_used - q->size);
		q->used_wrap = !q->used_wrap;
	}
	return id;
}

/* Returns the slot of the next used buffer, -1 when there is none, -2 on a bogus used entry, or one out of turn. */
int vq_get(struct vq *q, uint32_t *len)
{
	int slot = next_used(q, len);
	if (slot >= 0 && q->in_order && slot != q->turns[q->turn_get++ % q->size])
		return -2;
	return slot;
}

/* Asks for an interrupt at the next used buffer; true if some are there already. */
bool vq_arm(struct vq *q)
{
	if (q->packed) {
		if (q->event_idx)
			ST(q->drv->off_wrap, (uint16_t)(q->next_used | q->used_wrap << 15));
		ST(q->drv->flags, q->event_idx ? 2 : 0);
	} else if (q->event_idx)
		ST(*used_event(q), q->last_used);
	else
		ST(q->avail->flags, 0);
	MB();
	return more(q);
}

void vq_disarm(struct vq *q)
{
	if (q->packed)
		ST(q->drv->flags, 1);
	else if (!q->event_idx)
		ST(q->avail->flags, 1);
}
