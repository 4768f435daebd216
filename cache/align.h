/* cache/align.h -- a disk of any extents above one that wants whole blocks: O_DIRECT's alignment is our trouble.
 *
 * A read off the grid goes through a bounce buffer. A write off it is a read of the blocks it covers in part and a
 * write of them; the neighbours' bytes in those blocks must not change in between. So a write that is carried that way
 * claims its blocks exclusively (cache/range_lock.h), every other write, zero and trim claims its bytes as shared:
 * writes on the grid pass each other freely, at the cost of two short critical sections, and wait only for a
 * read-modify-write of their own blocks, as it waits for them, in order of arrival, on whichever worker.
 *
 * Zeroes and trims have a coarser grid, the filesystem's block. Off it a zero is carried, as a zero of whole blocks and
 * writes of the edges; a trim forgets its edges: trims are advice.
 *
 * If the disk below ends in a part of a block, its tail is written by way of the page cache (cache/disk_file.h). The
 * page that holds it may hold blocks that O_DIRECT writes: the kernel would then lose one of two concurrent writes. So
 * a write of the tail claims as many bytes before it as one folio of the page cache may have.
 */
#pragma once

#include "cache/disk.h"

/* The largest folio that the page cache makes (on x86-64: of the size of a huge page). */
#define ALIGN_FOLIO_MAX (2u << 20)

/* align_open() - a disk above @below, which it frees with itself; block_size_min 1, whatever below's is.
 * @memory_grid: what addresses of data must be multiples of; a power of two, at most the page size.
 * @space_grid: what zeroes and trims shall be multiples of below; one, at least below's block_size_min.
 * Returns 0, or -ENOMEM: @below stays the caller's. */
int align_open(struct disk *below, uint32_t memory_grid, uint32_t space_grid, struct disk **out);
