/* cache/block.h -- the block request: one struct from a virtqueue or a socket to the platter.
 *
 * Life: the submitter fills in what is asked and gives the request to a disk (cache/disk.h). The disk completes it
 * exactly once: at once, by disk_submit()'s return value, or later, by done(). In between, the request and its data
 * belong to the layers below; the submitter touches neither.
 *
 * A request is bound to one thread: it is submitted there and done() runs there, whatever threads help meanwhile.
 */
#pragma once

#include <stdint.h>
#include <sys/uio.h>

#include "cache/range_lock.h"
#include "cache/uring.h"
#include "conf/mailbox.h"

struct disk;

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH, /* everything completed before its submission, by whichever thread, is stable at its success */
	BLOCK_TRIM,   /* the bytes no longer matter; what reads find there is undefined */
	BLOCK_ZERO,   /* the bytes read as zeroes; -EOVERFLOW: too many where they would have to be written */
	BLOCK_CACHE,  /* the bytes will be read soon; a hint */
	BLOCK_STATUS, /* which bytes are holes: fills in extents */
	BLOCK_OPS,
};

enum block_flag {
	BLOCK_FUA = 1 << 0,	   /* write, trim, zero: stable before success is reported */
	BLOCK_NO_HOLE = 1 << 1,	   /* zero: keep the space allocated */
	BLOCK_FAST_ZERO = 1 << 2,  /* zero: fail with -ENOTSUP at once rather than write zeroes as data */
	BLOCK_ONE_EXTENT = 1 << 3, /* status: one extent, no longer than what is asked about */
};

/* What is known of some bytes. Neither flag: they are allocated, or nobody can tell. */
enum block_extent_flag {
	BLOCK_EXTENT_HOLE = 1 << 0, /* nothing is allocated for them */
	BLOCK_EXTENT_ZERO = 1 << 1, /* they read as zeroes */
};

struct block_extent {
	uint64_t length; /* bytes, > 0 */
	uint64_t flags;	 /* enum block_extent_flag */
};

/* No read or write is longer: NBD's payload limit. The others may be as long as the disk. */
#define BLOCK_DATA_MAX (32u << 20)

struct block_req {
	/* What is asked: the submitter writes it; layers below may change it and owe nobody its old value. */
	enum block_op op;
	unsigned flags;	   /* enum block_flag */
	uint64_t offset;   /* bytes */
	uint64_t length;   /* bytes; of a read or write, the sum of iov; > 0 but for flush */
	struct iovec *iov; /* borrowed: the submitter's array and data, until done; entries may be consumed */
	unsigned iov_count; /* 1 .. IOV_MAX for reads and writes, else 0 */
	/* A status finds, as it was at some moment between submission and done, extents one behind the other
	 * from offset on. They may end before the request does; only the last may reach past it, none past the disk. */
	struct {
		struct block_extent *list; /* borrowed: the submitter's, until done */
		unsigned max;		   /* entries it has, > 0 */
		unsigned count;		   /* written on success, > 0 */
	} extents;

	/* @status: 0 or -errno. Runs once, on the submitting thread, never inside disk_submit(); may free @req. */
	void (*done)(struct block_req *req, int status);

	/* borrowed: the submitting thread's ring, where disks of files do their work; NULL on a thread without one. */
	struct uring *ring;

	/* The part of the layer that holds the request now. */
	struct disk *disk;  /* borrowed: the disk that works for it, which outlives its requests */
	struct uring_op io; /* its operation in the ring */
	struct {
		struct block_req *next; /* in a queue of requests that wait for the same thing */
		struct mail mail;	/* brings the request home to its thread */
		int status;
	} wait;

	/* A claim on its bytes that a layer holds while those below it work. */
	struct {
		struct range range;
		struct disk *disk; /* borrowed: the layer's own */
		void (*done)(struct block_req *req, int status);
	} hold;
};
