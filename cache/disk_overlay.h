/* cache/disk_overlay.h -- a disk over two disks: a base that is never written, and a store that has the blocks that were.
 *
 * A block of OVERLAY_BLOCK bytes is in the base until something of it is written or zeroed; then the whole of it is in the
 * store, and stays there. Which block is where is a map (cache/overlay_map.h). Where the store is an overlay's file
 * (cache/overlay_file.h), which is kept, the map is there twice (cache/overlay_format.h):
 *
 * - the durable map says of a block that it is here only when its data has been synced, so a power cut at any moment
 *   leaves each block either as it was or as it was written;
 * - the volatile map is written with every new block before the write completes, and outlives a killed server in the
 *   page cache, together with the data; it counts in the same boot of the machine alone, and not in a snapshot of the device.
 *
 * A trim of what is in the base does nothing: reads go on finding it. Requests of any extent are taken; a write of a part
 * of a new block reads the rest of it from the base.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cache/disk.h"

/* disk_overlay_new() - a disk of @base's size, which is that of now.
 * @base: only read from. @store: its bytes may be reached at any extent; both are the new disk's.
 * @file: the store, or what is below it, by disk_file_open() without O_DIRECT: an overlay's file, whose maps are read and,
 * when the disk is freed, made durable. Or NULL: the store is all zeroes, holds nothing but data, and is forgotten: no
 * flush or FUA does anything.
 * Returns 0 and a disk in @out; or -errno of pread(2) and pwrite(2), -ENOMEM, -EFBIG: the disks stay the caller's. */
int disk_overlay_new(struct disk *base, struct disk *store, struct disk *file, struct disk **out);

/* overlay_open() - the file or device at @path, opened for reading and locked against every writer, under an overlay.
 * @overlay: its file, made if there is none; or NULL: a temporary one, without a name, in TMPDIR or /var/tmp.
 * Returns 0 and a disk in @out; or -errno with a line in @why, as cache_open(); -EINVAL: @overlay is of another base. */
int overlay_open(const char *path, const char *overlay, struct disk **out, char *why, size_t why_size);
