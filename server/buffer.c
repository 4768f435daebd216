/* server/buffer.c -- a free list a size. */
#include "server/buffer.h"

#include <assert.h>
#include <stdlib.h>

#define PAGE 4096

static unsigned class_of(size_t length)
{
	unsigned shift = BUFFER_SHIFT_MIN;

	assert(length > 0 && length <= (size_t)1 << BUFFER_SHIFT_MAX);
	if (length > (size_t)1 << BUFFER_SHIFT_MIN)
		shift = (unsigned)(8 * sizeof(long) - (size_t)__builtin_clzl(length - 1));
	return shift - BUFFER_SHIFT_MIN;
}

static size_t class_size(unsigned class)
{
	return (size_t)1 << (BUFFER_SHIFT_MIN + class);
}

size_t buffer_size(size_t length)
{
	return class_size(class_of(length));
}

void buffer_pool_init(struct buffer_pool *pool, size_t free_bytes_max)
{
	*pool = (struct buffer_pool){ .free_bytes_max = free_bytes_max };
}

static struct buffer *pop(struct buffer_pool *pool, unsigned class)
{
	struct buffer *buffer = pool->free[class];

	if (buffer) {
		pool->free[class] = buffer->next;
		pool->free_bytes -= class_size(class);
	}
	return buffer;
}

void buffer_pool_fini(struct buffer_pool *pool)
{
	for (unsigned class = 0; class < BUFFER_CLASSES; class ++) {
		struct buffer *buffer;

		while ((buffer = pop(pool, class)))
			free(buffer);
	}
}

struct buffer *buffer_get(struct buffer_pool *pool, size_t length)
{
	unsigned class = class_of(length);
	struct buffer *buffer = pop(pool, class);
	void *memory;

	if (buffer)
		return buffer;
	if (posix_memalign(&memory, PAGE, BUFFER_SKEW + class_size(class)))
		return NULL;
	buffer = memory;
	buffer->class = class;
	return buffer;
}

/* The largest go first: they are the few that are cheap to get again for their size. */
static void make_room(struct buffer_pool *pool)
{
	for (unsigned class = BUFFER_CLASSES; class -- > 0 && pool->free_bytes > pool->free_bytes_max;) {
		struct buffer *buffer;

		while (pool->free_bytes > pool->free_bytes_max && (buffer = pop(pool, class)))
			free(buffer);
	}
}

void buffer_put(struct buffer_pool *pool, struct buffer *buffer)
{
	buffer->next = pool->free[buffer->class];
	pool->free[buffer->class] = buffer;
	pool->free_bytes += class_size(buffer->class);
	if (pool->free_bytes > pool->free_bytes_max)
		make_room(pool);
}
