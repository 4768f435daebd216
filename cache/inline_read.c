/* cache/inline_read.c -- reads from the page cache without the ring. */
#include "cache/inline_read.h"

#include <sys/uio.h>

size_t inline_read(struct inline_reads *reads, int fd, const struct block_req *req)
{
	unsigned pause = atomic_load_explicit(&reads->pause, memory_order_relaxed);
	ssize_t got;

	if (req->length <= INLINE_READ_SMALL && uring_count_request(req->ring) >= INLINE_READ_BURST)
		return 0;
	if (pause > 0) {
		atomic_store_explicit(&reads->pause, pause - 1, memory_order_relaxed);
		return 0;
	}
	got = preadv2(fd, req->iov, (int)req->iov_count, (off_t)req->offset, RWF_NOWAIT);
	if (got < (ssize_t)req->length)
		atomic_store_explicit(&reads->pause, INLINE_READ_PAUSE, memory_order_relaxed);
	return got > 0 ? (size_t)got : 0;
}
