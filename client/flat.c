/* client/flat.c -- two stacks of buffers in one mapping. */
#include "client/flat.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

/* A copy runs several times slower where source and target lie a few bytes apart in their pages; guest data mostly
 * starts a page, so ours starts well inside one. */
#define PAGE	     4096u
#define START	     512u
#define SMALL_STRIDE (FLAT_SMALL_LENGTH + PAGE)
#define LARGE_STRIDE (FLAT_LARGE_LENGTH + PAGE)
#define MEMORY_SIZE  ((size_t)FLAT_SMALL_COUNT * SMALL_STRIDE + (size_t)FLAT_LARGE_COUNT * LARGE_STRIDE)

int flat_pool_init(struct flat_pool *pool)
{
	uint8_t *at;

	pool->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool->memory == MAP_FAILED)
		return -ENOMEM;
	at = (uint8_t *)pool->memory + START;
	for (pool->small_free = 0; pool->small_free < FLAT_SMALL_COUNT; at += SMALL_STRIDE)
		pool->small[pool->small_free++] = at;
	for (pool->large_free = 0; pool->large_free < FLAT_LARGE_COUNT; at += LARGE_STRIDE)
		pool->large[pool->large_free++] = at;
	return 0;
}

void flat_pool_fini(struct flat_pool *pool)
{
	munmap(pool->memory, MEMORY_SIZE);
}

void *flat_take(struct flat_pool *pool, size_t length)
{
	assert(length <= FLAT_LENGTH_MAX);
	if (length <= FLAT_SMALL_LENGTH)
		return pool->small_free ? pool->small[--pool->small_free] : NULL;
	return pool->large_free ? pool->large[--pool->large_free] : NULL;
}

void flat_put(struct flat_pool *pool, void *buffer, size_t length)
{
	if (length <= FLAT_SMALL_LENGTH) {
		assert(pool->small_free < FLAT_SMALL_COUNT);
		pool->small[pool->small_free++] = buffer;
	} else {
		assert(pool->large_free < FLAT_LARGE_COUNT);
		pool->large[pool->large_free++] = buffer;
	}
}
