/* server/buffer.h -- memory for the data of requests: sizes are powers of two, and free ones are kept for the next.
 *
 * Data starts BUFFER_SKEW bytes into a page: copies between it and the page cache run several times slower where source
 * and target stand a few bytes apart in their pages, which is what malloc(3) gives. It is aligned enough for O_DIRECT.
 * A pool belongs to one thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BUFFER_SKEW 512

/* 4 KiB to 32 MiB. */
#define BUFFER_SHIFT_MIN 12
#define BUFFER_SHIFT_MAX 25
#define BUFFER_CLASSES	 (BUFFER_SHIFT_MAX - BUFFER_SHIFT_MIN + 1)

/* Stands in the page before its data. */
struct buffer {
	struct buffer *next; /* the pool's while free */
	unsigned class;
};

struct buffer_pool {
	struct buffer *free[BUFFER_CLASSES]; /* owned */
	size_t free_bytes, free_bytes_max;
};

/* At most @free_bytes_max of free buffers are kept. */
void buffer_pool_init(struct buffer_pool *pool, size_t free_bytes_max);
void buffer_pool_fini(struct buffer_pool *pool);

/* Room for @length bytes, 1 .. 32 MiB, contents undefined; or NULL without memory. */
struct buffer *buffer_get(struct buffer_pool *pool, size_t length);
/* What such a buffer takes: @length and what it is rounded up by. */
size_t buffer_size(size_t length);
void buffer_put(struct buffer_pool *pool, struct buffer *buffer);

static inline uint8_t *buffer_data(struct buffer *buffer)
{
	return (uint8_t *)buffer + BUFFER_SKEW;
}
