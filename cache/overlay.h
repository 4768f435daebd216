/* cache/overlay.h -- the inside of an overlay, for disk_overlay.c and overlay_*.c alone. */
#pragma once

#include <sys/uio.h>

#include "cache/disk.h"
#include "cache/overlay_commit.h"
#include "cache/overlay_format.h"
#include "cache/overlay_map.h"
#include "cache/range_lock.h"

/* Requests of one overlay that need more than one operation at a time; the others wait in line. */
#define OVERLAY_CARRIES 128

/* Entries of the data of one part of a read; more are read as another part. */
#define OVERLAY_IOVECS 16

enum fill_stage {
	FILL_HEAD,
	FILL_HEAD_WRITE,
	FILL_TAIL,
	FILL_TAIL_WRITE,
	FILL_DATA,
	FILL_MARK,
	FILL_ADD,
	FILL_OVER
};

/* What a request needs that is not one operation of one disk. */
struct carry {
	struct carry *next; /* in idle */
	struct overlay *overlay;
	struct block_req *req;
	struct mail
		mail; /* tells a request that waited that this is its own now; and the next step, on the next turn */
	struct block_req inner; /* what is asked of base or store */
	uint64_t at, end;	/* bytes: what is left; of a fill's mark, blocks */
	uint64_t part;		/* bytes, of a fill's mark blocks: what the step under way covers */
	enum fill_stage stage;
	struct iovec iov[OVERLAY_IOVECS];
	char *edge; /* OVERLAY_BLOCK bytes */
};

struct carry_pool {
	pthread_mutex_t lock;
	struct carry *idle;			   /* shared: under lock */
	struct block_req *waiting, **last_waiting; /* shared: under lock; while idle is empty */
	struct carry *carries;			   /* owned: OVERLAY_CARRIES */
	char *memory;				   /* owned: their edges */
};

struct overlay {
	struct disk disk;
	struct disk *base, *store; /* owned */
	struct disk *file;	   /* borrowed: the store, or what is below it; NULL: nothing is kept */
	struct overlay_layout layout;
	struct overlay_map map;
	struct overlay_commit commit;
	struct range_lock lock;
	struct carry_pool pool;
};

struct overlay *overlay_of(struct disk *disk);

static inline bool overlay_keeps(const struct overlay *overlay)
{
	return overlay->file;
}

static inline uint64_t overlay_smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Behind the last block that has a byte before @end. */
static inline uint64_t overlay_blocks_end(uint64_t end)
{
	return (end + OVERLAY_BLOCK - 1) / OVERLAY_BLOCK;
}

/* Returns 0 or -ENOMEM. */
int carry_pool_init(struct carry_pool *pool, struct overlay *overlay);
void carry_pool_fini(struct carry_pool *pool);

/* carry_start() - carry out @req with a carry, by way of overlay_spread() or overlay_fill(); as disk_submit(). Uses
 * @req->wait. */
int carry_start(struct overlay *overlay, struct block_req *req);

/* carry_prepare() - make @carry->inner such a request, without data yet. */
void carry_prepare(struct carry *carry, enum block_op op, unsigned flags, uint64_t offset, uint64_t length);

/* Goes on with reads, trims, caches and status of base and store, part by part, after one that ended in @status; as
 * disk_submit(). */
int overlay_spread(struct carry *carry, int status);

/* Goes on with a write or zero of blocks that are not all here, after a step that ended in @status; as disk_submit(). */
int overlay_fill(struct carry *carry, int status);

/* overlay_fill_submit() - carry out @req, such a write or zero; as disk_submit(). Uses @req->hold, @req->wait. */
int overlay_fill_submit(struct overlay *overlay, struct block_req *req);

/* The range lock's. */
void overlay_fill_granted(struct range *range);
