/* server/receive_pool.h -- small buffers of which the kernel takes one when a connection has something to receive: one that is
 * idle has none.
 *
 * It belongs to one ring and its thread. There are as many as connections have needed at a time, at most
 * RECEIVE_SMALL_MAX: the kernel takes them in turn, and few stay in the processor's cache. A receive that finds none fails
 * with -ENOBUFS.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cache/uring.h"

struct receive_pool {
	struct io_uring_buf_ring *ring; /* owned; shared with the kernel; NULL: there is no pool */
	uint8_t *bytes;			/* owned: RECEIVE_SMALL_MAX buffers of RECEIVE_SMALL bytes */
	unsigned count;			/* of them are in use */
};

/* Returns 0, or -errno where the kernel takes none or memory is short: then there is no pool, and receives have to bring buffers
 * of their own. */
int receive_pool_init(struct receive_pool *pool, struct uring *uring);
/* After the ring has ended. */
void receive_pool_fini(struct receive_pool *pool);

/* One was wanted and there was none. */
void receive_pool_grow(struct receive_pool *pool);

/* Whether it was begun. */
static inline bool receive_pool_exists(const struct receive_pool *pool)
{
	return pool->ring;
}

/* Makes a receive take its buffer from the pool, and of that no more than its own length. */
void receive_pool_use(struct io_uring_sqe *sqe);

/* The buffer that a receive has taken, by its @flags. */
uint8_t *receive_pool_taken(const struct receive_pool *pool, unsigned flags);

/* @bytes: any place in a buffer that was taken. */
void receive_pool_put(struct receive_pool *pool, const uint8_t *bytes);
