/* cache/bounce.c -- a small state machine for each request that O_DIRECT would refuse.
 *
 *   MIDDLE -> OPEN -> FIRST -> LAST -> MOVE -> CLOSE -> OPEN ...  until nothing is left
 *
 * MIDDLE: a zero's whole blocks. OPEN: the next window, blocks from `start` to `end` in which bytes from `at` to
 * `data_end` are the request's. FIRST, LAST: read the blocks that a write covers in part. MOVE: read or write the
 * window. CLOSE: hand a read its bytes. A stage that has nothing to do passes on at once.
 */
#include "cache/bounce.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cache/iov.h"
#include "conf/container.h"

enum bounce_stage {
	BOUNCE_MIDDLE,
	BOUNCE_OPEN,
	BOUNCE_FIRST,
	BOUNCE_LAST,
	BOUNCE_MOVE,
	BOUNCE_CLOSE,
	BOUNCE_STAGES
};

struct bounce {
	struct bounce *next; /* in idle */
	struct bounce_pool *pool;
	char *memory;
	struct mail mail; /* tells a request that waited that this is its own now */

	struct block_req *req;
	enum bounce_stage stage;
	uint64_t at, req_end;			/* what of the request is left */
	uint64_t start, end, data_end, have_to; /* the window; blocks up to have_to have been read */
	struct block_req inner;			/* what is asked of the disk below */
	struct iovec iov;
};

static uint64_t round_down(uint64_t value, uint64_t grid)
{
	return value & ~(grid - 1);
}

static uint64_t round_up(uint64_t value, uint64_t grid)
{
	return round_down(value + grid - 1, grid);
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void ask_data(struct bounce *bounce, enum block_op op, uint64_t start, uint64_t end)
{
	bounce->iov = (struct iovec){ .iov_base = bounce->memory + (start - bounce->start),
		.iov_len = end - start };
	bounce->inner.op = op;
	bounce->inner.flags = op == BLOCK_WRITE ? bounce->req->flags & BLOCK_FUA : 0;
	bounce->inner.offset = start;
	bounce->inner.length = end - start;
	bounce->inner.iov = &bounce->iov;
	bounce->inner.iov_count = 1;
}

static bool do_middle(struct bounce *bounce)
{
	uint64_t grid = bounce->pool->zero_grid;
	uint64_t start = round_up(bounce->at, grid), end = round_down(bounce->req_end, grid);

	bounce->stage = BOUNCE_OPEN;
	if (bounce->req->op != BLOCK_ZERO || start >= end)
		return false;
	bounce->inner.op = BLOCK_ZERO;
	bounce->inner.flags = bounce->req->flags;
	bounce->inner.offset = start;
	bounce->inner.length = end - start;
	bounce->inner.iov_count = 0;
	return true;
}

/* Behind the first edge of a zero comes its last: what is between has been zeroed as the middle. */
static void skip_middle(struct bounce *bounce)
{
	uint64_t grid = bounce->pool->zero_grid, end = round_down(bounce->req_end, grid);

	if (bounce->req->op == BLOCK_ZERO && round_down(bounce->at, grid) == bounce->at && bounce->at < end)
		bounce->at = end;
}

static bool do_open(struct bounce *bounce)
{
	uint64_t grid = bounce->pool->grid, tail_start = bounce->pool->tail_start;

	skip_middle(bounce);
	bounce->stage = bounce->at < bounce->req_end ? BOUNCE_FIRST : BOUNCE_STAGES;
	if (bounce->at >= tail_start) {
		bounce->start = bounce->at;
		bounce->end = bounce->data_end = bounce->req_end;
	} else {
		bounce->start = round_down(bounce->at, grid);
		bounce->end = smaller(
			bounce->start + BOUNCE_BYTES, smaller(round_up(bounce->req_end, grid), tail_start));
		if (bounce->req->op == BLOCK_ZERO) /* one edge */
			bounce->end = smaller(bounce->end, round_up(bounce->at + 1, bounce->pool->zero_grid));
		bounce->data_end = smaller(bounce->end, bounce->req_end);
	}
	bounce->have_to = bounce->start;
	return false;
}

static bool do_first(struct bounce *bounce)
{
	uint64_t grid = bounce->pool->grid, blocks_end = bounce->start + grid;

	bounce->stage = BOUNCE_LAST;
	if (bounce->req->op == BLOCK_READ || bounce->at == bounce->start)
		return false;
	/* The commonest window is two blocks, both covered in part: one read for both. */
	if (bounce->end == blocks_end + grid && bounce->data_end != bounce->end)
		blocks_end = bounce->end;
	ask_data(bounce, BLOCK_READ, bounce->start, blocks_end);
	bounce->have_to = blocks_end;
	return true;
}

static bool do_last(struct bounce *bounce)
{
	bounce->stage = BOUNCE_MOVE;
	if (bounce->req->op == BLOCK_READ || bounce->data_end == bounce->end ||
		bounce->have_to == bounce->end)
		return false;
	ask_data(bounce, BLOCK_READ, bounce->end - bounce->pool->grid, bounce->end);
	return true;
}

static bool do_move(struct bounce *bounce)
{
	char *data = bounce->memory + (bounce->at - bounce->start);
	size_t length = bounce->data_end - bounce->at;

	bounce->stage = BOUNCE_CLOSE;
	if (bounce->req->op == BLOCK_WRITE)
		iov_copy_out(bounce->req, data, length);
	else if (bounce->req->op == BLOCK_ZERO)
		memset(data, 0, length);
	ask_data(
		bounce, bounce->req->op == BLOCK_READ ? BLOCK_READ : BLOCK_WRITE, bounce->start, bounce->end);
	return true;
}

static bool do_close(struct bounce *bounce)
{
	if (bounce->req->op == BLOCK_READ)
		iov_copy_in(bounce->req, bounce->memory + (bounce->at - bounce->start),
			bounce->data_end - bounce->at);
	bounce->at = bounce->data_end;
	bounce->stage = BOUNCE_OPEN;
	return false;
}

/* Goes on after a step that ended in @status. Returns DISK_PENDING, or the request's final status. */
static int bounce_go(struct bounce *bounce, int status)
{
	static bool (*const stages[BOUNCE_STAGES])(struct bounce * bounce) = {
		[BOUNCE_MIDDLE] = do_middle,
		[BOUNCE_OPEN] = do_open,
		[BOUNCE_FIRST] = do_first,
		[BOUNCE_LAST] = do_last,
		[BOUNCE_MOVE] = do_move,
		[BOUNCE_CLOSE] = do_close,
	};

	while (status == 0 && bounce->stage != BOUNCE_STAGES)
		if (stages[bounce->stage](bounce))
			status = disk_submit(bounce->pool->below, &bounce->inner);
	return status;
}

/* Gives the buffer to the next in line, or back. */
static void bounce_put(struct bounce *bounce)
{
	struct bounce_pool *pool = bounce->pool;
	struct block_req *next;

	pthread_mutex_lock(&pool->lock);
	next = pool->waiting;
	if (next) {
		pool->waiting = next->wait.next;
		if (!pool->waiting)
			pool->last_waiting = &pool->waiting;
	} else {
		bounce->next = pool->idle;
		pool->idle = bounce;
	}
	bounce->req = next;
	pthread_mutex_unlock(&pool->lock);
	if (next)
		uring_post(next->ring, &bounce->mail);
}

static void bounce_end(struct bounce *bounce, int status)
{
	struct block_req *req = bounce->req;

	bounce_put(bounce);
	req->done(req, status);
}

static void on_inner(struct block_req *inner, int status)
{
	struct bounce *bounce = container_of(inner, struct bounce, inner);

	status = bounce_go(bounce, status);
	if (status != DISK_PENDING)
		bounce_end(bounce, status);
}

static int bounce_start(struct bounce *bounce)
{
	struct block_req *req = bounce->req;

	bounce->stage = BOUNCE_MIDDLE;
	bounce->at = req->offset;
	bounce->req_end = req->offset + req->length;
	bounce->inner = (struct block_req){ .done = on_inner, .ring = req->ring };
	return bounce_go(bounce, 0);
}

static void on_turn(struct mail *mail)
{
	struct bounce *bounce = container_of(mail, struct bounce, mail);
	int status = bounce_start(bounce);

	if (status != DISK_PENDING)
		bounce_end(bounce, status);
}

/* Returns a buffer that is @req's, or NULL: it waits in line. */
static struct bounce *bounce_take(struct bounce_pool *pool, struct block_req *req)
{
	struct bounce *bounce;

	pthread_mutex_lock(&pool->lock);
	bounce = pool->idle;
	if (bounce) {
		pool->idle = bounce->next;
		bounce->req = req;
	} else {
		req->wait.next = NULL;
		*pool->last_waiting = req;
		pool->last_waiting = &req->wait.next;
	}
	pthread_mutex_unlock(&pool->lock);
	return bounce;
}

int bounce_carry(struct bounce_pool *pool, struct block_req *req)
{
	struct bounce *bounce = bounce_take(pool, req);
	int status;

	if (!bounce)
		return DISK_PENDING;
	status = bounce_start(bounce);
	if (status != DISK_PENDING)
		bounce_put(bounce);
	return status;
}

int bounce_pool_init(struct bounce_pool *pool, struct disk *below, uint32_t zero_grid)
{
	uint64_t size = below->facts.size;
	uint32_t grid = below->facts.block_size_min;

	assert(grid <= BOUNCE_BYTES && zero_grid % grid == 0);
	*pool = (struct bounce_pool){ .below = below, .grid = grid, .zero_grid = zero_grid };
	/* Without a tail now, there never will be one: cache/disk_file.h. */
	pool->tail_start = (size & (grid - 1) ? size : UINT64_MAX) & ~(uint64_t)(grid - 1);
	pool->last_waiting = &pool->waiting;
	pool->memory = mmap(NULL, (size_t)BOUNCE_BYTES * BOUNCE_COUNT, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool->memory == MAP_FAILED)
		return -ENOMEM;
	pool->bounces = calloc(BOUNCE_COUNT, sizeof(*pool->bounces));
	if (!pool->bounces) {
		munmap(pool->memory, (size_t)BOUNCE_BYTES * BOUNCE_COUNT);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < BOUNCE_COUNT; i++) {
		struct bounce *bounce = &pool->bounces[i];

		bounce->pool = pool;
		bounce->memory = pool->memory + (size_t)i * BOUNCE_BYTES;
		bounce->mail.read = on_turn;
		bounce->next = pool->idle;
		pool->idle = bounce;
	}
	pthread_mutex_init(&pool->lock, NULL);
	return 0;
}

void bounce_pool_fini(struct bounce_pool *pool)
{
	pthread_mutex_destroy(&pool->lock);
	free(pool->bounces);
	munmap(pool->memory, (size_t)BOUNCE_BYTES * BOUNCE_COUNT);
}
