/* cache/disk_file.h -- the disk at the bottom: a regular file or a block device.
 *
 * Reads and writes are one operation each in the submitting thread's ring; a write may be made at once instead
 * (cache/inline_write.h).
 *
 * The file may grow and shrink. Bytes that it turns out not to have read as -EINVAL; a write behind an end that has not
 * been noticed yet (disk_measure()) makes a regular file longer again. With O_DIRECT, a file that ends with a part of a
 * block when it is opened does not grow, and any other new size is cut to whole blocks: the part's place is fixed.
 *
 * Two open file descriptions: data goes through one, fdatasync through the other, on which no RWF_DSYNC write is ever
 * made. The kernel reports a lost page once to each description, and to whoever syncs first: were there only one, a
 * FUA write that fails would take away the error that the next flush owes to an earlier, completed write of that page.
 * Where FUA writes go into the page cache, there is a third, since they would take it away from each other, too
 * (cache/witness.h).
 *
 * Its block_size_min is the grid of O_DIRECT, 1 without. With O_DIRECT, data must also be on the memory grid, and if
 * the file ends with a part of a block (its tail), a read or write lies before the tail or inside it, where it may have
 * any extent: O_DIRECT could write it only by making the file longer. The tail goes through the page cache, by way of
 * the sync's description, which then is opened without O_DIRECT, and a sync follows each write of it: a dirty page
 * that meets an O_DIRECT write of its neighbours would be lost, or undo that write, or fail the next fdatasync. Who
 * writes the tail must exclude other writes meanwhile, as cache/align.h says. For the same reason a zero or trim with
 * O_DIRECT should be on the space grid: the kernel zeroes a part of a filesystem's block by way of the page cache.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cache/disk.h"
#include "cache/folder.h"

struct file_manner {
	const struct folder *
		folder; /* borrowed while the file is opened: where its path's last name must be; NULL: anywhere */
	bool looks; /* for its facts alone: opened for reading, and without locks; readonly is what it would be */
	bool alone;    /* nobody else may write it, not through another disk of this process either */
	bool direct;   /* O_DIRECT */
	bool readonly; /* opened so; a flush has nothing to do */
};

/* disk_file_open() - returns 0 and a disk in @out, or -errno and a line in @why, as cache_open(). */
int disk_file_open(
	const char *path, const struct file_manner *manner, struct disk **out, char *why, size_t why_size);

struct file_grids {
	uint32_t memory; /* what addresses of data must be multiples of; a power of two */
	uint32_t space;	 /* what zeroes and trims should be multiples of; one, at least block_size_min */
};

struct file_grids disk_file_grids(const struct disk *disk);

/* The description that data goes through, which is the disk's. */
int disk_file_fd(const struct disk *disk);

/* disk_file_sync() - as a flush, without a ring, for a moment at which no request is in flight. Returns 0 or -EIO. */
int disk_file_sync(struct disk *disk);
