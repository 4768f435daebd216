/* tests/fuzz/late_disk.h -- a disk above another, whose requests end some time later: not in the order in which they came, and
 * when their session may have begun to end. */
#pragma once

#include <stdlib.h>

#include "cache/disk.h"
#include "cache/uring.h"
#include "conf/container.h"

struct late_disk {
	struct disk disk;
	struct disk *below;
};

struct late_request {
	struct uring_op op;
	struct __kernel_timespec delay;
	struct block_req *block;
	int status;
};

static inline void late_done(struct uring_op *op, int result, unsigned flags)
{
	struct late_request *late = container_of(op, struct late_request, op);
	struct block_req *block = late->block;
	int status = late->status;

	(void)result;
	(void)flags;
	free(late);
	block->done(block, status);
}

/* Some end at once: which, and how late the others do, is in their offsets. */
static inline int late_submit(struct disk *disk, struct block_req *block)
{
	struct late_disk *above = container_of(disk, struct late_disk, disk);
	int status = disk_submit(above->below, block);
	struct late_request *late;

	if (status == DISK_PENDING || block->offset % 4 == 0)
		return status;
	late = malloc(sizeof(*late));
	*late = (struct late_request){ .op.done = late_done,
		.delay.tv_nsec = (long)(block->offset % 16 * 10000),
		.block = block,
		.status = status };
	io_uring_prep_timeout(uring_sqe(block->ring, &late->op), &late->delay, 0, 0);
	return DISK_PENDING;
}

/* @below stays the caller's. */
static inline void late_disk_init(struct late_disk *late, struct disk *below)
{
	static const struct disk_ops ops = { .submit = late_submit };

	*late = (struct late_disk){ .disk = { .ops = &ops, .facts = below->facts }, .below = below };
}
