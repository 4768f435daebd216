/* cache/seeker.h -- tells which bytes of a regular file are holes, by lseek(2) with SEEK_DATA and SEEK_HOLE.
 *
 * io_uring has no such operation, and the call may block: on metadata that the disk has to deliver, or on the inode's
 * lock. Measured on ext4, kernel 6.18: 0.3 us on an idle file; 100 us, and up to 4 ms, beside one writer; up to 1.3 s
 * beside a fallocate(2) that punches 1 GiB. And a single one may walk all of a file's extents. So it happens on a thread
 * of the file's own, which starts with the first request; only others who ask about the same file wait for it.
 *
 * The descriptor may be the one that data goes through: what moves is an offset that positional reads and writes, of
 * whichever thread, do not look at.
 */
#pragma once

#include <pthread.h>

#include "cache/block.h"

struct seeker {
	int fd;			      /* borrowed: the file's, which closes it after us */
	const _Atomic uint64_t *size; /* borrowed: the disk's, as fd; bytes */
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct block_req *waiting, **last_waiting; /* shared: under lock */
	bool started, ending;			   /* shared: under lock */
	pthread_t thread;
};

void seeker_init(struct seeker *seeker, int fd, const _Atomic uint64_t *size);
/* No request may be in flight. */
void seeker_fini(struct seeker *seeker);

/* seeker_submit() - carry out @req, a BLOCK_STATUS; as disk_submit(). Uses @req->wait. Any thread that has a ring.
 * What had completed before the call is seen. A file's bytes that nobody has written are holes, and so may be bytes
 * that were allocated and never written.
 * done() gets 0; -EINVAL: the file ends before the request's first byte, because somebody cut it; or -errno of lseek(2).
 * Returns DISK_PENDING, or -ENOMEM: no thread can be had. */
int seeker_submit(struct seeker *seeker, struct block_req *req);
