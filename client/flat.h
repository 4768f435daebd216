/* client/flat.h -- memory for data that lies scattered in the guest while libnbd wants it in one piece.
 *
 * A fixed number of buffers of two lengths. They take address space at once and memory only as far as they were used:
 * the one that was put back last is taken first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Up to 64 KiB: what a busy queue has in flight; 1 MiB: a guest's largest usual request. 32 MiB of each at most. */
#define FLAT_SMALL_LENGTH 65536u
#define FLAT_SMALL_COUNT  512u
#define FLAT_LARGE_LENGTH (1u << 20)
#define FLAT_LARGE_COUNT  32u

/* The longest data that one buffer holds. */
#define FLAT_LENGTH_MAX FLAT_LARGE_LENGTH

struct flat_pool {
	void *memory; /* owned: one mapping */
	unsigned small_free, large_free;
	void *small[FLAT_SMALL_COUNT], *large[FLAT_LARGE_COUNT]; /* the first *_free of them are to be had */
};

/* Returns 0, or -ENOMEM. */
int flat_pool_init(struct flat_pool *pool);
void flat_pool_fini(struct flat_pool *pool);

/* flat_take() - a buffer of at least @length bytes, 1 .. FLAT_LENGTH_MAX; NULL: all are in use. */
void *flat_take(struct flat_pool *pool, size_t length);

/* flat_put() - give back what was taken for @length. */
void flat_put(struct flat_pool *pool, void *buffer, size_t length);
