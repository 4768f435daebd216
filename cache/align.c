/* cache/align.c -- what is on the grid passes; what is not is carried; claims keep them from each other's blocks.
 *
 * A1  Every request that changes bytes holds a claim from before its first operation until after its last one.
 * A2  A carried write or zero holds its whole blocks exclusively; others their bytes, shared.
 * A3  A request holds one claim, takes it before a bounce buffer, and no holder of a buffer waits for a claim.
 */
#include "cache/align.h"

#include <stdlib.h>

#include "cache/bounce.h"
#include "cache/iov.h"
#include "cache/range_lock.h"
#include "conf/container.h"

struct align {
	struct disk disk;
	struct disk *below; /* owned */
	uint32_t grid, memory_grid, space_grid;
	uint64_t tail_start;
	struct range_lock lock;
	struct bounce_pool pool;
};

static struct align *align_of(struct disk *disk)
{
	return container_of(disk, struct align, disk);
}

static uint64_t round_down(uint64_t value, uint64_t grid)
{
	return value & ~(grid - 1);
}

static uint64_t round_up(uint64_t value, uint64_t grid)
{
	return round_down(value + grid - 1, grid);
}

static bool is_on_grid(const struct align *align, const struct block_req *req)
{
	uint32_t grid = req->op == BLOCK_ZERO ? align->space_grid : align->grid;

	return ((req->offset | req->length) & (grid - 1)) == 0 &&
	       iov_is_aligned(req, align->memory_grid, align->grid);
}

static int work(struct align *align, struct block_req *req)
{
	return is_on_grid(align, req) ? disk_submit(align->below, req) : bounce_carry(&align->pool, req);
}

static void release(struct align *align, struct block_req *req)
{
	req->done = req->hold.done;
	range_release(&align->lock, &req->hold.range);
}

static void on_worked(struct block_req *req, int status)
{
	release(align_of(req->hold.disk), req);
	req->done(req, status);
}

static void on_home(struct mail *mail)
{
	struct block_req *req = container_of(mail, struct block_req, wait.mail);

	disk_finish(req, work(align_of(req->hold.disk), req));
}

static void on_granted(struct range *range)
{
	struct block_req *req = container_of(range, struct block_req, hold.range);

	req->wait.mail.read = on_home;
	uring_post(req->ring, &req->wait.mail);
}

static void choose_range(const struct align *align, const struct block_req *req, struct range *range)
{
	uint64_t end = req->offset + req->length, folio_start;

	range->start = req->offset;
	range->end = end;
	range->kind = RANGE_SHARED;
	if (is_on_grid(align, req))
		return;
	range->kind = RANGE_EXCLUSIVE;
	range->start = round_down(req->offset, align->grid);
	range->end = round_up(end, align->grid);
	folio_start = round_down(align->tail_start, ALIGN_FOLIO_MAX);
	if (end > align->tail_start && range->start > folio_start)
		range->start = folio_start;
}

static int change(struct align *align, struct block_req *req)
{
	int status;

	choose_range(align, req, &req->hold.range);
	req->hold.disk = &align->disk;
	req->hold.done = req->done;
	req->done = on_worked;
	if (!range_claim(&align->lock, &req->hold.range))
		return DISK_PENDING;
	status = work(align, req);
	if (status != DISK_PENDING)
		release(align, req);
	return status;
}

static int align_trim(struct align *align, struct block_req *req)
{
	uint64_t start = round_up(req->offset, align->space_grid);
	uint64_t end = round_down(req->offset + req->length, align->space_grid);

	if (start >= end)
		return 0;
	req->offset = start;
	req->length = end - start;
	return change(align, req);
}

/* A zero without one whole block is a write, and no faster than a write. */
static int align_zero(struct align *align, struct block_req *req)
{
	bool has_middle = round_up(req->offset, align->space_grid) <
			  round_down(req->offset + req->length, align->space_grid);

	return !has_middle && (req->flags & BLOCK_FAST_ZERO) ? -ENOTSUP : change(align, req);
}

static int align_submit(struct disk *disk, struct block_req *req)
{
	struct align *align = align_of(disk);

	switch (req->op) {
	case BLOCK_READ:
		return work(align, req);
	case BLOCK_WRITE:
		return change(align, req);
	case BLOCK_TRIM:
		return align_trim(align, req);
	case BLOCK_ZERO:
		return align_zero(align, req);
	default:
		return disk_submit(align->below, req);
	}
}

static void align_measure(struct disk *disk)
{
	struct align *align = align_of(disk);

	disk_measure(align->below);
	disk->facts.size = align->below->facts.size;
}

static bool align_has_lost(struct disk *disk)
{
	return disk_has_lost(align_of(disk)->below);
}

static void align_free(struct disk *disk)
{
	struct align *align = align_of(disk);

	bounce_pool_fini(&align->pool);
	range_lock_fini(&align->lock);
	disk_free(align->below);
	free(align);
}

int align_open(struct disk *below, uint32_t memory_grid, uint32_t space_grid, struct disk **out)
{
	static const struct disk_ops ops = { .submit = align_submit,
		.measure = align_measure,
		.has_lost = align_has_lost,
		.free = align_free };
	struct align *align = calloc(1, sizeof(*align));

	if (!align)
		return -ENOMEM;
	if (bounce_pool_init(&align->pool, below, space_grid) < 0) {
		free(align);
		return -ENOMEM;
	}
	align->disk.ops = &ops;
	align->disk.facts = below->facts;
	align->disk.facts.block_size_min = 1;
	align->below = below;
	align->grid = below->facts.block_size_min;
	align->memory_grid = memory_grid;
	align->space_grid = space_grid;
	align->tail_start = align->pool.tail_start;
	range_lock_init(&align->lock, on_granted);
	*out = &align->disk;
	return 0;
}
