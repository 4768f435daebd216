/* cache/inline_read.h -- whether a read is answered from the page cache at once, by the worker itself.
 *
 * The ring answers such a read in its submission, too, but tells of it in the next turn: one more system call for a client
 * with few requests in flight, and one more buffer where the next read begins before this one is sent. Measured, in
 * comparison with a responder that makes one pread(2) a read: 4 KiB, one in flight, 1.14 times its CPU time through the
 * ring and 1.03 at once; 64 KiB, eight in flight, 1.13 and 1.03; 4 KiB, 32 in flight: 1.10 and 1.09.
 *
 * Where many small reads begin in one turn, the ring needs one system call for all of them, and one more for their replies.
 * Where a system call is cheap (0.1 us) that is as good as reading at once; where it is not (1.2 us, in a virtual machine
 * whose host has to switch address spaces): 4 KiB, 32 in flight, 3.7 us at once and 2.0 through the ring; 8 in flight, 5.0 and
 * 3.3; 4 in flight, 6.6 and 6.4.
 *
 * RWF_NOWAIT never waits for the disk. What it costs where nothing is cached is kept small: after a miss the next reads go
 * to the ring without asking.
 */
#pragma once

#include <stdatomic.h>

#include "cache/block.h"

/* Reads that go to the ring without asking after one that was not cached. */
#define INLINE_READ_PAUSE 16

/* Where so many requests begin in a turn, reads of at most so many bytes go through the ring. */
#define INLINE_READ_BURST 8
#define INLINE_READ_SMALL (16u << 10)

/* One for a file; all workers share it, and what they miss of each other's news costs a little speed, nothing else. */
struct inline_reads {
	atomic_uint pause; /* reads to come that are not asked for */
};

/* inline_read() - read what is there of @req, from its start, into its data.
 * Returns how many bytes, of which @req does not know yet; 0: none, use the ring, which will also tell of errors. */
size_t inline_read(struct inline_reads *reads, int fd, const struct block_req *req);
