/* server/receive_pool.c -- buffers for the kernel to choose from. */
#include "server/receive_pool.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "server/limits.h"

/* The ring has no other group of buffers. */
#define GROUP 0

static uint8_t *buffer_at(const struct receive_pool *pool, unsigned index)
{
	assert(index < pool->count);
	return pool->bytes + (size_t)index * RECEIVE_SMALL;
}

static void provide(struct receive_pool *pool, unsigned index)
{
	io_uring_buf_ring_add(pool->ring, buffer_at(pool, index), RECEIVE_SMALL, (unsigned short)index,
		io_uring_buf_ring_mask(RECEIVE_SMALL_MAX), 0);
	io_uring_buf_ring_advance(pool->ring, 1);
}

void receive_pool_grow(struct receive_pool *pool)
{
	for (unsigned more = RECEIVE_SMALL_STEP; more > 0 && pool->count < RECEIVE_SMALL_MAX; more--) {
		pool->count++;
		provide(pool, pool->count - 1);
	}
}

static void *map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static size_t ring_size(void)
{
	return RECEIVE_SMALL_MAX * sizeof(struct io_uring_buf);
}

int receive_pool_init(struct receive_pool *pool, struct uring *uring)
{
	struct io_uring_buf_reg registration = { .ring_entries = RECEIVE_SMALL_MAX, .bgid = GROUP };
	int error;

	*pool = (struct receive_pool){ 0 };
	pool->ring = map(ring_size());
	pool->bytes = map((size_t)RECEIVE_SMALL_MAX * RECEIVE_SMALL);
	registration.ring_addr = (uintptr_t)pool->ring;
	error = pool->ring && pool->bytes ? io_uring_register_buf_ring(&uring->ring, &registration, 0)
					  : -ENOMEM;
	if (error) {
		receive_pool_fini(pool);
		return error;
	}
	io_uring_buf_ring_init(pool->ring);
	receive_pool_grow(pool);
	return 0;
}

void receive_pool_fini(struct receive_pool *pool)
{
	if (pool->ring)
		munmap(pool->ring, ring_size());
	if (pool->bytes)
		munmap(pool->bytes, (size_t)RECEIVE_SMALL_MAX * RECEIVE_SMALL);
	*pool = (struct receive_pool){ 0 };
}

void receive_pool_use(struct io_uring_sqe *sqe)
{
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
}

uint8_t *receive_pool_taken(const struct receive_pool *pool, unsigned flags)
{
	assert(flags & IORING_CQE_F_BUFFER);
	return buffer_at(pool, flags >> IORING_CQE_BUFFER_SHIFT);
}

void receive_pool_put(struct receive_pool *pool, const uint8_t *bytes)
{
	assert(bytes >= pool->bytes);
	provide(pool, (unsigned)((size_t)(bytes - pool->bytes) / RECEIVE_SMALL));
}
