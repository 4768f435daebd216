/* cache/overlay_spread.c -- requests that change no block's place, over runs of blocks that are here and that are not. */
#include "cache/iov.h"
#include "cache/overlay.h"

/* As much of the request's data as one part takes: up to carry->part bytes, which becomes what is taken. */
static void lend_data(struct carry *carry)
{
	const struct iovec *from = carry->req->iov;
	uint64_t taken = 0;
	unsigned count = 0;

	for (; count < OVERLAY_IOVECS && taken < carry->part; count++) {
		carry->iov[count] = from[count];
		carry->iov[count].iov_len = overlay_smaller(from[count].iov_len, carry->part - taken);
		taken += carry->iov[count].iov_len;
	}
	carry->part = taken;
	carry->inner.length = taken;
	carry->inner.iov = carry->iov;
	carry->inner.iov_count = count;
}

static void lend_extents(struct carry *carry)
{
	const struct block_req *req = carry->req;

	carry->inner.extents.list = req->extents.list + req->extents.count;
	carry->inner.extents.max = req->extents.max - req->extents.count;
}

/* Takes in the extents of a part: they end where it does, and those of a kind with their neighbour become one. */
static void fold_extents(struct carry *carry)
{
	uint64_t told = 0;

	for (unsigned i = 0; i < carry->inner.extents.count && told < carry->part; i++) {
		struct block_extent extent = carry->inner.extents.list[i];

		extent.length = overlay_smaller(extent.length, carry->part - told);
		told += extent.length;
		disk_extent_add(carry->req, extent.length, extent.flags); /* there is room: they were there */
	}
	carry->part = told;
}

/* The part that inner covered is done. */
static void fold(struct carry *carry)
{
	struct block_req *req = carry->req;

	if (req->op == BLOCK_STATUS)
		fold_extents(carry);
	else if (req->op == BLOCK_READ)
		iov_skip(req, carry->part);
	carry->at += carry->part;
	carry->part = 0;
}

static bool is_over(const struct carry *carry)
{
	const struct block_req *req = carry->req;

	if (carry->at >= carry->end)
		return true;
	return req->op == BLOCK_STATUS && req->extents.count > 0 &&
	       (req->extents.count == req->extents.max || req->flags & BLOCK_ONE_EXTENT);
}

static int next_part(struct carry *carry)
{
	struct overlay *overlay = carry->overlay;
	const struct block_req *req = carry->req;
	uint64_t run_end;
	bool here = overlay_map_run(
		&overlay->map, carry->at / OVERLAY_BLOCK, overlay_blocks_end(carry->end), &run_end);
	struct disk *disk = here ? overlay->store : overlay->base;

	carry->part = overlay_smaller(run_end * OVERLAY_BLOCK, carry->end) - carry->at;
	if (!here && req->op == BLOCK_TRIM)
		return 0;
	carry_prepare(
		carry, req->op, req->flags, carry->at + (here ? overlay->layout.data_at : 0), carry->part);
	if (req->op == BLOCK_READ)
		lend_data(carry);
	if (req->op != BLOCK_STATUS)
		return disk_submit(disk, &carry->inner);
	lend_extents(carry);
	return disk_status(disk, &carry->inner);
}

int overlay_spread(struct carry *carry, int status)
{
	struct block_req *req = carry->req;

	if (carry->part == 0)
		req->extents.count = 0;
	while (status == 0) {
		if (carry->part > 0)
			fold(carry);
		if (is_over(carry))
			return 0;
		status = next_part(carry);
	}
	/* What is known of a status is an answer. */
	return status < 0 && req->op == BLOCK_STATUS && req->extents.count > 0 ? 0 : status;
}
