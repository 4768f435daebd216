/* cache/overlay_fill.c -- writes and zeroes that bring blocks here.
 *
 *	HEAD -> HEAD_WRITE -> TAIL -> TAIL_WRITE -> DATA -> MARK -> ADD -> MARK ... once for each step of the map -> OVER
 *
 * HEAD, TAIL: read from the base what the first or last block has outside of the request, if it is not here; and write it
 * to the store. DATA: the request itself, to the store. MARK: write the volatile map, with the blocks. ADD: they are here. A
 * stage that has nothing to do passes on at once.
 *
 * O1  A block's bit is set when all of its bytes are in the store, never before; so until then reads go to the base, and
 *     a fill that fails has changed nothing.
 * O2  Who brings a block here holds a claim on it: exclusive, where a head or tail is filled, for that writes bytes that
 *     are not the request's; else shared. Who finds a block here needs none: nobody fills it any more.
 * O3  A block is here only when the volatile map in the file has it: others may write it then, and complete, without
 *     another look at the file.
 * O4  A request takes its claim before a carry, and no holder of a carry waits for a claim.
 */
#include "cache/overlay.h"
#include "conf/container.h"

/* Pages of the map that one MARK writes: 1 MiB of it, 32 GiB of blocks. */
#define MARK_PAGES 256

static void ask_edge(struct carry *carry, enum block_op op, uint64_t at, uint64_t start, uint64_t end)
{
	carry->iov[0] = (struct iovec){ .iov_base = carry->edge, .iov_len = end - start };
	carry_prepare(carry, op, 0, at, end - start);
	carry->inner.iov = carry->iov;
	carry->inner.iov_count = 1;
}

/* The bytes of the block around @at that lie before it, or from it on. */
struct edge {
	uint64_t start, end;
};

static struct edge head_of(const struct carry *carry)
{
	uint64_t at = carry->req->offset;

	return (struct edge){ at / OVERLAY_BLOCK * OVERLAY_BLOCK, at };
}

static struct edge tail_of(const struct carry *carry)
{
	uint64_t at = carry->req->offset + carry->req->length;

	return (struct edge){ at,
		overlay_smaller(overlay_blocks_end(at) * OVERLAY_BLOCK, carry->overlay->disk.facts.size) };
}

static bool is_missing(const struct carry *carry, struct edge edge)
{
	uint64_t block = edge.start / OVERLAY_BLOCK;

	return edge.start < edge.end && !overlay_map_has(&carry->overlay->map, block, block + 1);
}

/* Reads @edge from the base, or goes on behind it. */
static int read_edge(struct carry *carry, struct edge edge, enum fill_stage write, enum fill_stage behind)
{
	bool missing = is_missing(carry, edge);

	carry->stage = missing ? write : behind;
	if (!missing)
		return 0;
	ask_edge(carry, BLOCK_READ, edge.start, edge.start, edge.end);
	return disk_submit(carry->overlay->base, &carry->inner);
}

static int write_edge(struct carry *carry, struct edge edge, enum fill_stage behind)
{
	carry->stage = behind;
	ask_edge(carry, BLOCK_WRITE, carry->overlay->layout.data_at + edge.start, edge.start, edge.end);
	return disk_submit(carry->overlay->store, &carry->inner);
}

static int write_data(struct carry *carry)
{
	const struct block_req *req = carry->req;

	carry->stage = FILL_MARK;
	carry->at = req->offset / OVERLAY_BLOCK;
	carry->end = overlay_blocks_end(req->offset + req->length);
	carry_prepare(carry, req->op, req->flags & ~(unsigned)BLOCK_FUA,
		carry->overlay->layout.data_at + req->offset, req->length);
	carry->inner.iov = req->iov;
	carry->inner.iov_count = req->iov_count;
	return disk_submit(carry->overlay->store, &carry->inner);
}

/* The pages of the volatile map with the blocks from @block to before @end. What it writes is the map as it is when it is
 * written: whoever marks blocks of a page meanwhile writes it, too, later. */
static int write_map(struct carry *carry, uint64_t block, uint64_t end)
{
	struct overlay *overlay = carry->overlay;
	uint64_t first = block / OVERLAY_PAGE_BLOCKS * OVERLAY_BLOCK;
	uint64_t last = (end + OVERLAY_PAGE_BLOCKS - 1) / OVERLAY_PAGE_BLOCKS * OVERLAY_BLOCK;

	overlay_map_mark(&overlay->map, block, end);
	carry->iov[0] =
		(struct iovec){ .iov_base = (char *)overlay->map.marked + first, .iov_len = last - first };
	carry_prepare(carry, BLOCK_WRITE, 0, overlay->layout.volatile_at + first, last - first);
	carry->inner.iov = carry->iov;
	carry->inner.iov_count = 1;
	return disk_submit(overlay->store, &carry->inner);
}

static int mark(struct carry *carry)
{
	const uint64_t step = (uint64_t)MARK_PAGES * OVERLAY_PAGE_BLOCKS;
	uint64_t end = overlay_smaller(carry->end, (carry->at / step + 1) * step);

	if (carry->at >= carry->end) {
		carry->stage = FILL_OVER;
		return 0;
	}
	carry->stage = FILL_ADD;
	carry->part = end - carry->at;
	return overlay_keeps(carry->overlay) ? write_map(carry, carry->at, end) : 0;
}

static void on_next_turn(struct mail *mail)
{
	struct carry *carry = container_of(mail, struct carry, mail);

	carry->inner.done(&carry->inner, 0);
}

/* A long request lets others have a turn between its steps. */
static int add(struct carry *carry)
{
	carry->stage = FILL_MARK;
	overlay_map_add(&carry->overlay->map, carry->at, carry->at + carry->part);
	carry->at += carry->part;
	if (carry->at == carry->end || overlay_keeps(carry->overlay))
		return 0;
	carry->mail.read = on_next_turn;
	uring_post(carry->req->ring, &carry->mail);
	return DISK_PENDING;
}

static int step(struct carry *carry)
{
	switch (carry->stage) {
	case FILL_HEAD:
		return read_edge(carry, head_of(carry), FILL_HEAD_WRITE, FILL_TAIL);
	case FILL_HEAD_WRITE:
		return write_edge(carry, head_of(carry), FILL_TAIL);
	case FILL_TAIL:
		return read_edge(carry, tail_of(carry), FILL_TAIL_WRITE, FILL_DATA);
	case FILL_TAIL_WRITE:
		return write_edge(carry, tail_of(carry), FILL_DATA);
	case FILL_DATA:
		return write_data(carry);
	case FILL_MARK:
		return mark(carry);
	case FILL_ADD:
	case FILL_OVER:
		break;
	}
	return add(carry);
}

int overlay_fill(struct carry *carry, int status)
{
	while (status == 0 && carry->stage != FILL_OVER)
		status = step(carry);
	return status;
}

/* The blocks are here, or not. Returns as disk_submit(). */
static int finish(struct block_req *req, int status)
{
	struct overlay *overlay = overlay_of(req->hold.disk);

	req->done = req->hold.done;
	range_release(&overlay->lock, &req->hold.range);
	if (status == 0 && req->flags & BLOCK_FUA)
		return overlay_commit_submit(&overlay->commit, req);
	return status;
}

static void on_filled(struct block_req *req, int status)
{
	disk_finish(req, finish(req, status));
}

static void on_home(struct mail *mail)
{
	struct block_req *req = container_of(mail, struct block_req, wait.mail);

	disk_finish(req, carry_start(overlay_of(req->hold.disk), req));
}

void overlay_fill_granted(struct range *range)
{
	struct block_req *req = container_of(range, struct block_req, hold.range);

	req->wait.mail.read = on_home;
	uring_post(req->ring, &req->wait.mail);
}

/* O2 */
static void choose_range(const struct overlay *overlay, const struct block_req *req, struct range *range)
{
	uint64_t end = req->offset + req->length;
	bool whole_first = req->offset % OVERLAY_BLOCK == 0;
	bool whole_last = end % OVERLAY_BLOCK == 0 || end == overlay->disk.facts.size;

	range->start = req->offset / OVERLAY_BLOCK;
	range->end = overlay_blocks_end(end);
	range->kind = whole_first && whole_last ? RANGE_SHARED : RANGE_EXCLUSIVE;
}

int overlay_fill_submit(struct overlay *overlay, struct block_req *req)
{
	int status;

	choose_range(overlay, req, &req->hold.range);
	req->hold.disk = &overlay->disk;
	req->hold.done = req->done;
	req->done = on_filled;
	if (!range_claim(&overlay->lock, &req->hold.range))
		return DISK_PENDING;
	status = carry_start(overlay, req);
	return status == DISK_PENDING ? status : finish(req, status);
}
