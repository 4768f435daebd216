/* cache/overlay_carry.c -- what requests of several operations need, lent from a pool. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "cache/overlay.h"
#include "conf/container.h"

static void on_turn(struct mail *mail);

int carry_pool_init(struct carry_pool *pool, struct overlay *overlay)
{
	*pool = (struct carry_pool){ .last_waiting = &pool->waiting };
	pool->carries = calloc(OVERLAY_CARRIES, sizeof(*pool->carries));
	if (!pool->carries)
		return -ENOMEM;
	pool->memory = mmap(NULL, (size_t)OVERLAY_CARRIES * OVERLAY_BLOCK, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pool->memory == MAP_FAILED) {
		free(pool->carries);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < OVERLAY_CARRIES; i++) {
		struct carry *carry = &pool->carries[i];

		carry->overlay = overlay;
		carry->edge = pool->memory + (size_t)i * OVERLAY_BLOCK;
		carry->next = pool->idle;
		pool->idle = carry;
	}
	pthread_mutex_init(&pool->lock, NULL);
	return 0;
}

void carry_pool_fini(struct carry_pool *pool)
{
	pthread_mutex_destroy(&pool->lock);
	free(pool->carries);
	munmap(pool->memory, (size_t)OVERLAY_CARRIES * OVERLAY_BLOCK);
}

/* Returns one that is @req's, or NULL: it waits in line. */
static struct carry *take(struct carry_pool *pool, struct block_req *req)
{
	struct carry *carry;

	pthread_mutex_lock(&pool->lock);
	carry = pool->idle;
	if (carry) {
		pool->idle = carry->next;
		carry->req = req;
	} else {
		req->wait.next = NULL;
		*pool->last_waiting = req;
		pool->last_waiting = &req->wait.next;
	}
	pthread_mutex_unlock(&pool->lock);
	return carry;
}

/* Gives it to the next in line, or back. */
static void put(struct carry *carry)
{
	struct carry_pool *pool = &carry->overlay->pool;
	struct block_req *next;

	pthread_mutex_lock(&pool->lock);
	next = pool->waiting;
	if (next) {
		pool->waiting = next->wait.next;
		if (!pool->waiting)
			pool->last_waiting = &pool->waiting;
	} else {
		carry->next = pool->idle;
		pool->idle = carry;
	}
	carry->req = next;
	pthread_mutex_unlock(&pool->lock);
	if (next) {
		carry->mail.read = on_turn;
		uring_post(next->ring, &carry->mail);
	}
}

static int go(struct carry *carry, int status)
{
	enum block_op op = carry->req->op;

	return op == BLOCK_WRITE || op == BLOCK_ZERO ? overlay_fill(carry, status)
						     : overlay_spread(carry, status);
}

static int start(struct carry *carry)
{
	const struct block_req *req = carry->req;

	carry->at = req->offset;
	carry->end = req->offset + req->length;
	carry->part = 0;
	carry->stage = FILL_HEAD;
	return go(carry, 0);
}

static void end(struct carry *carry, int status)
{
	struct block_req *req = carry->req;

	put(carry);
	req->done(req, status);
}

static void on_inner(struct block_req *inner, int status)
{
	struct carry *carry = container_of(inner, struct carry, inner);

	status = go(carry, status);
	if (status != DISK_PENDING)
		end(carry, status);
}

static void on_turn(struct mail *mail)
{
	struct carry *carry = container_of(mail, struct carry, mail);
	int status = start(carry);

	if (status != DISK_PENDING)
		end(carry, status);
}

void carry_prepare(struct carry *carry, enum block_op op, unsigned flags, uint64_t offset, uint64_t length)
{
	carry->inner = (struct block_req){
		.op = op,
		.flags = flags,
		.offset = offset,
		.length = length,
		.done = on_inner,
		.ring = carry->req->ring,
	};
}

int carry_start(struct overlay *overlay, struct block_req *req)
{
	struct carry *carry = take(&overlay->pool, req);
	int status;

	if (!carry)
		return DISK_PENDING;
	status = start(carry);
	if (status != DISK_PENDING)
		put(carry);
	return status;
}
