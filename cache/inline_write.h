/* cache/inline_write.h -- whether a write into the page cache is made at once, by the worker itself.
 *
 * Where a filesystem has no non-blocking buffered writes (ext4, for one; XFS and block devices have them) io_uring
 * hands every one to a kernel thread, and one at a time for a file. Measured on ext4, kernel 6.18, 4 KiB, 32 in flight, two
 * cores: 6.5 us of CPU time a write made at once by pwritev2(2), 11 to 15 us through the ring; 64 KiB: 26 against 40;
 * 1 MiB: 128 against 181. So small whole-page writes are made at once.
 *
 * The price: such a write may block the worker, and with it its other connections: in the throttling of dirty memory
 * (up to 200 ms), or in a journal that commits (beside endless fdatasyncs, one write in 200,000 took more than 2 ms).
 * So the gate closes after a write that took too long, for longer each time that repeats: the ring takes over, where
 * nobody but the writer waits. Reads never come here.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/block.h"

/* Above it the handing over is small beside the copying, and the copying long for the other connections. */
#define INLINE_WRITE_MAX (64u << 10)

/* A write that takes longer has waited for more than the copying. */
#define INLINE_STALL_NS 2000000ull

/* How long the gate stays closed: at first, and after stalls that follow each other. Throttling blocks for up to
 * 200 ms at a time: the longest pause keeps that below 1 percent of a worker's time. */
#define INLINE_PAUSE_MIN_NS 100000000ull
#define INLINE_PAUSE_MAX_NS 25600000000ull

enum inline_ability { INLINE_UNKNOWN, INLINE_USEFUL, INLINE_USELESS };

/* One for a file; all workers share it, and what they miss of each other's news costs a little speed, nothing else. */
struct inline_gate {
	_Atomic enum inline_ability ability;
	_Atomic uint64_t closed_until_ns;
	_Atomic uint64_t pause_ns;
};

/* @may: whether the file is one for which this can help at all: a regular file in the page cache. */
void inline_gate_init(struct inline_gate *gate, bool may);

/* inline_write() - write @req's data to @fd now, if that is cheaper than the ring and the gate is open.
 *
 * Returns how many bytes were written, of which @req does not know yet; 0: none, use the ring; or -errno of
 * pwritev2(2). Learns from the first write what the filesystem can do. */
int inline_write(struct inline_gate *gate, int fd, const struct block_req *req);
