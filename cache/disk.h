/* cache/disk.h -- what we ask of a disk, whatever it is made of: a file, a policy above another disk, an NBD server.
 *
 * Layers are disks above disks: each passes a request on, changed or not, or answers it itself. A layer that has to
 * see a completion makes a request of its own for the layer below and completes the one above from its done().
 *
 * A disk in the server is shared by all workers and says in its file what protects it; a disk in the client (an NBD
 * session) belongs to one thread.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/block.h"

/* What a disk can do; constant while it is open, but for its size. */
struct disk_facts {
	/* Bytes; any value up to INT64_MAX. shared: disk_measure() writes, everyone reads, once for each decision. */
	_Atomic uint64_t size;
	uint32_t block_size_min; /* offsets and lengths must be multiples: a power of two, 1 .. 64 KiB */
	uint32_t block_size_preferred; /* a power of two, at least block_size_min: what costs no extra work */
	uint32_t data_max;	       /* longest read or write, bytes */
	bool readonly;		       /* writes, trims, zeroes fail with -EROFS */
	bool volatile_cache;	       /* a completed write may need a flush to be stable */
	bool can_flush;		       /* a flush does what it says */
	bool can_fua;
	bool can_trim;
	bool can_zero;
	bool can_fast_zero;
	bool can_cache;
	bool can_status; /* else its disk_submit() knows no BLOCK_STATUS; disk_status() does for any disk */
	bool can_multi_conn; /* a flush covers writes of other sessions of this disk */
	bool rotational;
	/* What keeps its bytes, as a number: the same for every disk on the same file or device that is opened in this boot
	 * of the machine, by whichever process. 0: what it keeps ends with it, or may. */
	uint64_t identity;
};

/* disk_submit() returned this: done() runs later. Every other value is the final status. */
#define DISK_PENDING 1

struct disk;

struct disk_ops {
	int (*submit)(struct disk *disk, struct block_req *req);
	/* As disk_recall(); NULL: it never gives anything back. */
	bool (*recall)(struct disk *disk, struct block_req *req);
	/* As disk_measure(); NULL: the size never changes. */
	void (*measure)(struct disk *disk);
	/* As disk_has_lost(); NULL: never. */
	bool (*has_lost)(struct disk *disk);
	/* Frees the disk and the disks below it that it owns; no request may be in flight. */
	void (*free)(struct disk *disk);
};

struct disk {
	const struct disk_ops *ops;
	struct disk_facts facts;
};

/* disk_submit() - carry out one request, already checked against the facts (range, alignment, readonly, abilities):
 * disk_check() below is that check for requests made of foreign bytes.
 *
 * Returns DISK_PENDING: req->done() runs exactly once, later, never inside this call.
 * Returns 0 or -errno: finished now with that status; done() will not run, the caller owns @req again.
 */
static inline int disk_submit(struct disk *disk, struct block_req *req)
{
	return disk->ops->submit(disk, req);
}

/* disk_recall() - the submitter of @req, whose done() has not run yet, would rather have it back than wait for ever, for
 * an NBD server that is away, say. On the submitting thread.
 *
 * Returns true: nothing carries it out now, done() will not run, and the caller owns @req again.
 * Returns false: it ends as ever; but where what carried it is lost before that, with -ECANCELED.
 * Given back or ended by -ECANCELED, a request may have been carried out in part or in whole all the same: it is to be
 * submitted again, by whoever goes on.
 */
static inline bool disk_recall(struct disk *disk, struct block_req *req)
{
	return disk->ops->recall && disk->ops->recall(disk, req);
}

/* disk_status() - carry out a BLOCK_STATUS on any disk, as disk_submit(): a disk that cannot tell is data everywhere. */
int disk_status(struct disk *disk, struct block_req *req);

/* disk_extent_add() - put @length bytes (> 0) of @flags behind the extents that @req has; alike to the last, they become
 * part of it. Returns whether there was room. */
bool disk_extent_add(struct block_req *req, uint64_t length, uint64_t flags);

/* disk_finish() - what a submitter does with a submit that may have ended at once: brings both ways to done().
 * Only for callers for whom done() inside their own call is harmless. */
static inline void disk_finish(struct block_req *req, int status)
{
	if (status != DISK_PENDING)
		req->done(req, status);
}

/* disk_measure() - look how large it is now, and put that into its facts. Any thread; never waits for the disk. A
 * request that was checked before may find its bytes gone, and fails. */
static inline void disk_measure(struct disk *disk)
{
	if (disk->ops->measure)
		disk->ops->measure(disk);
}

/* disk_has_lost() - whether writes that had completed may have been lost since it was opened, because they could not be
 * made stable; every flush fails then. Any thread. */
static inline bool disk_has_lost(struct disk *disk)
{
	return disk->ops->has_lost && disk->ops->has_lost(disk);
}

static inline void disk_free(struct disk *disk)
{
	if (disk)
		disk->ops->free(disk);
}

/* disk_check() - whether @req may be given to a disk with these facts.
 *
 * Returns 0, or
 * -EROFS: it would change a readonly disk;
 * -ENOSPC: a write or zero that reaches past the end; -EINVAL: another operation that does;
 * -EINVAL: off the minimum block grid, a length of 0 where data is moved, longer than data_max;
 * -ENOTSUP: an operation or flag the disk does not have.
 * Offset and length may be any values: nothing overflows. Spec: NBD proto.md, "Error values", "Request types".
 */
int disk_check(const struct disk_facts *facts, const struct block_req *req);
