/* cache/bounce.h -- carries a request through memory and on blocks that O_DIRECT accepts.
 *
 * A read goes by way of a bounce buffer, block by block; a write too, and the blocks of which it covers a part are read
 * first. A zero gives its whole blocks (of the zero grid) to the disk below as a zero and carries its edges as writes.
 *
 * The caller sees to it that nobody else changes the blocks of a write or zero meanwhile.
 *
 * Buffers belong to a pool that all workers of a disk share; requests wait for one, in order, and never fail for it.
 */
#pragma once

#include <stdatomic.h>

#include "cache/disk.h"

/* A longer request is carried in steps of this. */
#define BOUNCE_BYTES (256u << 10)

/* Requests carried at a time on one disk: 16 MiB of memory at most, touched only when used. They are the odd ones; the
 * limit keeps a client that sends nothing else from taking the server's memory. */
#define BOUNCE_COUNT 64

struct bounce;

struct bounce_pool {
	struct disk *below; /* borrowed: outlives us because its owner frees us first */
	uint32_t grid;	    /* bytes; a power of two up to BOUNCE_BYTES */
	uint32_t zero_grid; /* bytes; likewise, at least grid: whole blocks of this are zeroed as such */
	/* From here on the disk below takes any extent; a multiple of grid. */
	uint64_t tail_start;
	char *memory;		/* owned: BOUNCE_COUNT buffers */
	struct bounce *bounces; /* owned: BOUNCE_COUNT */

	pthread_mutex_t lock;
	struct bounce *idle;			   /* shared: under lock */
	struct block_req *waiting, **last_waiting; /* shared: under lock; while idle is empty */
};

/* Returns 0 or -ENOMEM. The grid is below's block_size_min. */
int bounce_pool_init(struct bounce_pool *pool, struct disk *below, uint32_t zero_grid);
void bounce_pool_fini(struct bounce_pool *pool);

/* bounce_carry() - carry out @req, a read, write or zero; as disk_submit(). Uses @req->wait. */
int bounce_carry(struct bounce_pool *pool, struct block_req *req);
