/* client/bounce.h -- memory for data that lies scattered in the guest while libnbd wants it in one piece.
 *
 * A fixed number of buffers of two lengths. They take address space at once and memory only as far as they were used:
 * the one that was put back last is taken first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Up to 64 KiB: what a busy queue has in flight; 1 MiB: a guest's largest usual request. 32 MiB of each at most. */
#define BOUNCE_SMALL_LENGTH 65536u
#define BOUNCE_SMALL_COUNT  512u
#define BOUNCE_LARGE_LENGTH (1u << 20)
#define BOUNCE_LARGE_COUNT  32u

/* The longest data that one buffer holds. */
#define BOUNCE_LENGTH_MAX BOUNCE_LARGE_LENGTH

struct bounce_pool {
	void *memory; /* owned: one mapping */
	unsigned small_free, large_free;
	void *small[BOUNCE_SMALL_COUNT],
		*large[BOUNCE_LARGE_COUNT]; /* the first *_free of them are to be had */
};

/* Returns 0, or -ENOMEM. */
int bounce_pool_init(struct bounce_pool *pool);
void bounce_pool_fini(struct bounce_pool *pool);

/* bounce_take() - a buffer of at least @length bytes, 1 .. BOUNCE_LENGTH_MAX; NULL: all are in use. */
void *bounce_take(struct bounce_pool *pool, size_t length);

/* bounce_put() - give back what was taken for @length. */
void bounce_put(struct bounce_pool *pool, void *buffer, size_t length);
