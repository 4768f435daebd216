/* cache/volatile_thread.c -- the oldest leaves first; a batch of flushes is served when what it covers has left. */
#include "cache/volatile_parts.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>

#include "cache/block_finish.h"
#include "conf/log.h"

void volatile_wake(struct volatile_disk *this)
{
	if (this->woken)
		return;
	this->woken = true;
	uring_post(&this->ring, &this->wake);
}

/* What leaves. */

static void advance(struct volatile_disk *this);

static void tell_failure(int error)
{
	log_error("a volatile cache cannot be written back: %s; acknowledged writes are lost, every flush "
		  "fails from "
		  "now on until the export is opened again",
		strerror(error));
}

/* @status: of the write that brought it below. */
static void drop_held(struct volatile_disk *this, struct held *held, int status)
{
	uint64_t cost = held_cost(held);
	bool news;

	pthread_mutex_lock(&this->lock);
	news = status < 0 && !this->failed;
	this->failed |= status < 0; /* V5 */
	held_remove(&this->list, held);
	this->bytes -= cost;
	this->leaving_bytes -= cost;
	this->destaged++;
	pthread_mutex_unlock(&this->lock);
	held_free(held);
	if (news)
		tell_failure(-status);
}

static void end_destage(struct destage *destage, int status)
{
	struct volatile_disk *this = destage->volatile_disk;

	range_release(&this->claims, &destage->turn.range);
	if (this->cutting)
		this->cut_failed |= status < 0;
	else
		drop_held(this, destage->held, status);
	destage->next_free = this->free_destage;
	this->free_destage = destage;
	this->busy--;
}

static void on_destaged(struct block_req *req, int status)
{
	struct destage *destage = container_of(req, struct destage, req);
	struct volatile_disk *this = destage->volatile_disk;

	end_destage(destage, status);
	advance(this);
}

/* It has its claim: what is held of its bytes changes no more. */
static int submit_destage(struct destage *destage)
{
	const struct held *held = destage->held;
	uint64_t offset = destage->turn.range.start, length = destage->turn.range.end - offset;

	if (held->void_)
		return 0;
	destage->req = (struct block_req){
		.op = held->op,
		.flags = held->op == BLOCK_ZERO ? held->flags : 0,
		.offset = offset,
		.length = length,
		.done = on_destaged,
		.ring = destage->turn.ring,
	};
	if (held->op == BLOCK_WRITE) {
		destage->iov = (struct iovec){ held->data + (offset - held->offset), length };
		destage->req.iov = &destage->iov;
		destage->req.iov_count = 1;
	}
	return disk_submit(destage->volatile_disk->below, &destage->req);
}

static void begin_destage(struct turn *turn)
{
	struct destage *destage = container_of(turn, struct destage, turn);
	int status = submit_destage(destage);

	if (status != DISK_PENDING)
		on_destaged(&destage->req, status);
}

void volatile_destage(struct volatile_disk *this, struct held *held, uint64_t offset, uint64_t length)
{
	struct destage *destage = this->free_destage;
	int status;

	this->free_destage = destage->next_free;
	this->busy++;
	destage->held = held;
	destage->turn.range =
		(struct range){ .start = offset, .end = offset + length, .kind = RANGE_EXCLUSIVE };
	if (!range_claim(&this->claims, &destage->turn.range)) /* V3 */
		return;
	status = submit_destage(destage);
	if (status != DISK_PENDING)
		end_destage(destage, status);
}

/* With the lock held: whether there is not enough room for who waits, or, if nobody does, for who may come. */
static bool is_full(const struct volatile_disk *this)
{
	if (this->waiting)
		return volatile_staying_bytes(this) + volatile_cost_of(this->waiting) > this->bytes_max;
	return volatile_staying_bytes(this) > this->bytes_max - this->bytes_max / SPARE_PART;
}

/* The next that has to leave now, and can; or NULL. */
static struct held *take_leaving(struct volatile_disk *this)
{
	const struct held *first;
	struct held *taken = NULL;

	if (!this->free_destage)
		return NULL;
	pthread_mutex_lock(&this->lock);
	first = this->list.staying;
	if (first && !this->cut && ((this->in_batch && first->number <= this->batch_upto) || is_full(this))) {
		taken = held_leave(&this->list);
		this->leaving_bytes += held_cost(taken);
	}
	pthread_mutex_unlock(&this->lock);
	return taken;
}

/* The first that waits, if there is room for it now; its room is reserved. */
static struct block_req *take_admitted(struct volatile_disk *this)
{
	struct block_req *req;

	pthread_mutex_lock(&this->lock);
	req = this->waiting;
	if (req && this->bytes + volatile_cost_of(req) <= this->bytes_max) {
		this->bytes += volatile_cost_of(req); /* V6 */
		this->waiting = req->wait.next;
		if (!this->waiting)
			this->last_waiting = &this->waiting;
	} else {
		req = NULL;
	}
	pthread_mutex_unlock(&this->lock);
	return req;
}

/* Returns whether there was any. */
static bool admit(struct volatile_disk *this)
{
	struct block_req *req;
	bool any = false;

	while ((req = take_admitted(this))) {
		any = true;
		req->wait.mail.read = volatile_on_room;
		uring_post(req->ring, &req->wait.mail);
	}
	return any;
}

static void make_room(struct volatile_disk *this)
{
	struct held *held;

	do
		while ((held = take_leaving(this)))
			volatile_destage(this, held, held->offset, held->length);
	while (admit(this));
}

/* Flushes. */

static void begin_batch(struct volatile_disk *this)
{
	if (this->in_batch || this->last_batch)
		return;
	pthread_mutex_lock(&this->lock);
	this->in_batch = !this->cut && (this->flushes || this->ending);
	this->last_batch = this->in_batch && this->ending;
	this->served = this->flushes;
	this->flushes = NULL;
	this->last_flush = &this->flushes;
	this->batch_upto = this->list.last_number; /* V4 */
	pthread_mutex_unlock(&this->lock);
}

static bool is_batch_written(struct volatile_disk *this)
{
	bool written;

	if (!this->in_batch || this->sync.done)
		return false;
	pthread_mutex_lock(&this->lock);
	written = !this->list.oldest || this->list.oldest->number > this->batch_upto;
	pthread_mutex_unlock(&this->lock);
	return written;
}

static void end_batch(struct volatile_disk *this, int status)
{
	struct block_req *served = this->served;

	this->in_batch = false;
	this->sync.done = NULL;
	this->served = NULL;
	pthread_mutex_lock(&this->lock);
	this->failed |= status < 0;
	pthread_mutex_unlock(&this->lock);
	block_finish_all(served, &this->ring, status);
	if (this->last_batch)
		uring_stop(&this->ring);
}

static void on_synced(struct block_req *req, int status)
{
	struct volatile_disk *this = container_of(req, struct volatile_disk, sync);

	end_batch(this, status);
	advance(this);
}

static int send_sync(struct volatile_disk *this)
{
	bool failed;

	pthread_mutex_lock(&this->lock);
	failed = this->failed;
	pthread_mutex_unlock(&this->lock);
	if (failed)
		return -EIO;
	if (!this->below->facts.can_flush)
		return 0;
	this->sync = (struct block_req){ .op = BLOCK_FLUSH, .done = on_synced, .ring = &this->ring };
	return disk_submit(this->below, &this->sync);
}

/* The thread. */

static void advance_batch(struct volatile_disk *this)
{
	int status;

	do {
		begin_batch(this);
		make_room(this);
		if (!is_batch_written(this))
			return;
		status = send_sync(this);
		if (status != DISK_PENDING)
			end_batch(this, status);
	} while (status != DISK_PENDING);
}

static void advance(struct volatile_disk *this)
{
	do
		advance_batch(this);
	while (volatile_advance_cut(this));
}

static void on_wake(struct mail *mail)
{
	struct volatile_disk *this = container_of(mail, struct volatile_disk, wake);

	pthread_mutex_lock(&this->lock);
	this->woken = false;
	pthread_mutex_unlock(&this->lock);
	advance(this);
}

void volatile_thread_init(struct volatile_disk *this)
{
	this->wake.read = on_wake;
	for (int i = 0; i < DESTAGES; i++) {
		this->destages[i] = (struct destage){ .turn = { .ring = &this->ring, .begin = begin_destage },
			.next_free = this->free_destage,
			.volatile_disk = this };
		this->free_destage = &this->destages[i];
	}
}

void *volatile_run(void *argument)
{
	struct volatile_disk *this = argument;

	prctl(PR_SET_NAME, "vnbd-volatile");
	this->start_error = uring_init(&this->ring);
	sem_post(&this->started);
	if (this->start_error)
		return NULL;
	uring_run(&this->ring);
	return NULL;
}
