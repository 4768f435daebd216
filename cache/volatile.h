/* cache/volatile.h -- a disk above any disk: the volatile cache of a real one, simulated, and the power cut that loses it.
 *
 * A write, zero or trim is completed when its bytes are here, in memory; reads see them over what the disk below has. It
 * reaches the disk below when a flush asks for it, when the cache is full (the oldest first, in the background), or when the
 * cache is closed. With FUA it goes there at once, with FUA, and takes the place of what is here for its bytes; so does,
 * without FUA, one that is larger than the whole cache.
 *
 * volatile_cut() is the power cut: what is here is lost, or reaches the disk below in part, as cache/survival.h draws it.
 * Everything flushed or written with FUA is below by then.
 *
 * A flush fails, and every one from then on, once something that was here could not be written to the disk below.
 * Block status is not passed on, since the disk below does not know what is here: all is data.
 *
 * Writes that are not on the grid of sectors are kept or lost by themselves like others, so of a sector that several of them
 * wrote, parts of each may be found.
 */
#pragma once

#include <stdint.h>

#include "cache/disk.h"
#include "cache/survival.h"
#include "conf/mailbox.h"

/* Room for bytes that are held, each write with HELD_COST_MIN at least. A disk has 64 to 512 MiB; reads and FUA writes look
 * at everything that is held, which stays below a millisecond. */
#define VOLATILE_BYTES_DEFAULT (64u << 20)
#define VOLATILE_BYTES_LEAST   (64u << 10)
#define VOLATILE_BYTES_MOST    (512u << 20)

/* volatile_open() - a disk above @below, which it frees with itself, after it has written back what it holds.
 * @bytes_max: room, VOLATILE_BYTES_LEAST to VOLATILE_BYTES_MOST.
 * Returns 0; or -errno of a thread and its ring, or -ENOMEM: @below stays the caller's. */
int volatile_open(struct disk *below, uint64_t bytes_max, struct disk **out);

/* One power cut; the caller's, until done. */
struct volatile_cut {
	struct survival_order order;
	struct mailbox *owner; /* borrowed: of who waits for it; done is posted there */
	struct mail done;
	/* What is there then. */
	int error; /* 0; -ENOMEM: nothing is lost; -EIO: something that was to survive could not be written, and is lost */
	struct survival_counts counts;
};

/* volatile_cut() - lose what @disk, of volatile_open(), holds. Any thread; no request may be in flight until it is done, and no
 * other cut. */
void volatile_cut(struct disk *disk, struct volatile_cut *cut);

struct volatile_counts {
	uint64_t held, bytes; /* writes, zeroes and trims, and the room they take */
	uint64_t destaged;    /* that have reached the disk below since it was opened */
};

/* Any thread. */
struct volatile_counts volatile_count(struct disk *disk);
