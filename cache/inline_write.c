/* cache/inline_write.c -- writes into the page cache without the ring, watched by a clock. */
#include "cache/inline_write.h"

#include <errno.h>
#include <time.h>

/* A write of whole pages needs none of their old content, which would have to be read from the disk first. */
#define PAGE_GRID 4096u

void inline_gate_init(struct inline_gate *gate, bool may)
{
	atomic_init(&gate->ability, may ? INLINE_UNKNOWN : INLINE_USELESS);
	atomic_init(&gate->closed_until_ns, 0);
	atomic_init(&gate->pause_ns, INLINE_PAUSE_MIN_NS);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t get(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

static void set(_Atomic uint64_t *value, uint64_t to)
{
	atomic_store_explicit(value, to, memory_order_relaxed);
}

static int write_now(int fd, const struct block_req *req, int flags)
{
	ssize_t wrote = pwritev2(fd, req->iov, (int)req->iov_count, (off_t)req->offset, flags);

	return wrote < 0 ? -errno : (int)wrote;
}

/* A filesystem that takes RWF_NOWAIT for a buffered write lets the ring make it without a thread. */
static int learn(struct inline_gate *gate, int fd, const struct block_req *req)
{
	int wrote = write_now(fd, req, RWF_NOWAIT);
	bool lacks_nowait = wrote == -EOPNOTSUPP;

	atomic_store_explicit(
		&gate->ability, lacks_nowait ? INLINE_USEFUL : INLINE_USELESS, memory_order_relaxed);
	return wrote < 0 ? 0 : wrote;
}

static void close_gate(struct inline_gate *gate, uint64_t now, uint64_t took_ns)
{
	uint64_t pause = get(&gate->pause_ns);
	uint64_t opened = get(&gate->closed_until_ns);

	/* A stall soon after the last pause doubles the next one; a long quiet time is forgiven. */
	if (opened == 0 || now - took_ns > opened + 2 * pause)
		pause = INLINE_PAUSE_MIN_NS;
	else if (pause < INLINE_PAUSE_MAX_NS)
		pause *= 2;
	set(&gate->pause_ns, pause);
	set(&gate->closed_until_ns, now + pause);
}

int inline_write(struct inline_gate *gate, int fd, const struct block_req *req)
{
	enum inline_ability ability = atomic_load_explicit(&gate->ability, memory_order_relaxed);
	uint64_t before, after;
	int wrote;

	if (ability == INLINE_USELESS || req->length > INLINE_WRITE_MAX ||
		(req->offset | req->length) & (PAGE_GRID - 1))
		return 0;
	if (ability == INLINE_UNKNOWN)
		return learn(gate, fd, req);
	before = now_ns();
	if (before < get(&gate->closed_until_ns))
		return 0;
	wrote = write_now(fd, req, 0);
	after = now_ns();
	if (after - before > INLINE_STALL_NS)
		close_gate(gate, after, after - before);
	return wrote == -EINTR || wrote == -EAGAIN ? 0 : wrote;
}
