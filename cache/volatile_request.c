/* cache/volatile_request.c -- what is not held when a request comes needs no claim, and goes straight to the disk below. */
#include "cache/volatile_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Requests that go below. */

/* A request from above on its way to the disk below: a read of bytes that are held, or a write that goes past them. */
struct passage {
	struct turn turn;
	struct volatile_disk *volatile_disk; /* borrowed: outlives its requests */
	struct block_req *above;
	struct block_req req; /* the like of it, with an array of its own: layers below consume that */
	struct iovec iov[];
};

/* What is left to do when the disk below has answered. Returns the status for above. */
static int end_passage(struct passage *passage, int status)
{
	struct volatile_disk *this = passage->volatile_disk;
	const struct block_req *above = passage->above;

	pthread_mutex_lock(&this->lock);
	if (status == 0 && above->op == BLOCK_READ)
		held_overlay(&this->list, above->offset, above->length, above->iov, above->iov_count);
	else if (status == 0 && above->op == BLOCK_WRITE)
		held_supersede(&this->list, above->offset, above->length, above->iov, above->iov_count);
	else if (status == 0 && above->op == BLOCK_ZERO)
		held_supersede(&this->list, above->offset, above->length, NULL, 0);
	pthread_mutex_unlock(&this->lock);
	range_release(&this->claims, &passage->turn.range);
	free(passage);
	return status;
}

static void on_passed(struct block_req *req, int status)
{
	struct passage *passage = container_of(req, struct passage, req);
	struct block_req *above = passage->above;

	status = end_passage(passage, status);
	above->done(above, status);
}

static void begin_passage(struct turn *turn)
{
	struct passage *passage = container_of(turn, struct passage, turn);

	disk_finish(&passage->req, disk_submit(passage->volatile_disk->below, &passage->req));
}

static struct passage *new_passage(struct volatile_disk *this, struct block_req *above, enum range_kind kind)
{
	struct passage *passage = malloc(sizeof(*passage) + above->iov_count * sizeof(passage->iov[0]));

	if (!passage)
		return NULL;
	*passage = (struct passage){
		.turn = { .range = { .start = above->offset,
				  .end = above->offset + above->length,
				  .kind = kind },
			.ring = above->ring,
			.begin = begin_passage },
		.volatile_disk = this,
		.above = above,
		.req = { .op = above->op,
			.flags = above->flags,
			.offset = above->offset,
			.length = above->length,
			.iov = passage->iov,
			.iov_count = above->iov_count,
			.done = on_passed,
			.ring = above->ring },
	};
	if (above->iov_count > 0)
		memcpy(passage->iov, above->iov, above->iov_count * sizeof(passage->iov[0]));
	return passage;
}

static bool is_held(struct volatile_disk *this, const struct block_req *req)
{
	bool held;

	pthread_mutex_lock(&this->lock);
	held = held_overlaps(&this->list, req->offset, req->length);
	pthread_mutex_unlock(&this->lock);
	return held;
}

static int pass(struct volatile_disk *this, struct block_req *req, enum range_kind kind)
{
	struct passage *passage;
	int status;

	if (!is_held(this, req)) /* V2 */
		return disk_submit(this->below, req);
	passage = new_passage(this, req, kind);
	if (!passage)
		return -ENOMEM;
	if (!range_claim(&this->claims, &passage->turn.range))
		return DISK_PENDING;
	status = disk_submit(this->below, &passage->req);
	return status == DISK_PENDING ? DISK_PENDING : end_passage(passage, status);
}

/* Requests that are held. */

/* Its room is reserved. */
static int keep(struct volatile_disk *this, struct block_req *req)
{
	uint64_t cost = volatile_cost_of(req);
	struct held *held = held_new(req);

	pthread_mutex_lock(&this->lock);
	if (held)
		held_append(&this->list, held); /* V1 */
	else
		this->bytes -= cost;
	if (volatile_staying_bytes(this) > this->bytes_max - this->bytes_max / SPARE_PART)
		volatile_wake(this);
	pthread_mutex_unlock(&this->lock);
	return held ? 0 : -ENOMEM;
}

void volatile_on_room(struct mail *mail)
{
	struct block_req *req = container_of(mail, struct block_req, wait.mail);

	req->done(req, keep(volatile_of(req->disk), req));
}

/* With the lock held. */
static void wait_for_room(struct volatile_disk *this, struct block_req *req)
{
	req->disk = &this->disk;
	req->wait.next = NULL;
	*this->last_waiting = req;
	this->last_waiting = &req->wait.next;
	volatile_wake(this);
}

static int hold(struct volatile_disk *this, struct block_req *req)
{
	uint64_t cost = volatile_cost_of(req);
	bool waits;

	pthread_mutex_lock(&this->lock);
	waits = this->waiting || this->bytes + cost > this->bytes_max; /* V6 */
	if (waits)
		wait_for_room(this, req);
	else
		this->bytes += cost;
	pthread_mutex_unlock(&this->lock);
	return waits ? DISK_PENDING : keep(this, req);
}

static int change(struct volatile_disk *this, struct block_req *req)
{
	if (req->flags & BLOCK_FUA || volatile_cost_of(req) > this->bytes_max)
		return pass(this, req, RANGE_EXCLUSIVE);
	return hold(this, req);
}

static int flush(struct volatile_disk *this, struct block_req *req)
{
	bool failed;

	pthread_mutex_lock(&this->lock);
	failed = this->failed;
	if (!failed) {
		req->wait.next = NULL;
		*this->last_flush = req;
		this->last_flush = &req->wait.next;
		volatile_wake(this);
	}
	pthread_mutex_unlock(&this->lock);
	return failed ? -EIO : DISK_PENDING;
}

int volatile_submit(struct disk *disk, struct block_req *req)
{
	struct volatile_disk *this = volatile_of(disk);

	switch (req->op) {
	case BLOCK_READ:
		return pass(this, req, RANGE_SHARED);
	case BLOCK_WRITE:
	case BLOCK_TRIM:
	case BLOCK_ZERO:
		return change(this, req);
	case BLOCK_FLUSH:
		return flush(this, req);
	default:
		return disk_submit(this->below, req);
	}
}
