/* cache/volatile.c -- holds what is written, and has a thread that brings it to the disk below.
 *
 * V1  A write, zero or trim is completed only when it is in the list, or has succeeded below; it leaves the list when it
 *     has succeeded below, has failed there (V5), or is lost in a cut.
 * V2  What is seen of a byte is what the youngest of the list has for it, or else the disk below. So nothing may leave the
 *     list between a look at the disk below and one at the list: a read of bytes that are held claims them, shared, until
 *     it has had both looks; what leaves claims its bytes alone; so does what goes past the list (FUA, or too large), until it
 *     has superseded what is held. Requests for bytes that nobody holds when they come need no claim: whatever comes later
 *     is concurrent with them.
 * V3  What is held leaves in the order in which it completed, where it overlaps: claims are made in that order, by one
 *     thread, and granted in it.
 * V4  A flush is sent below only when all that had completed before its submission has left.
 * V5  Once something could not be written below, it is lost, and every flush fails from then on: failed is set before any
 *     flush that covers it ends, and is final.
 * V6  bytes, the room of what is in the list or about to be, is at most bytes_max. Writes beyond wait, in order; that they may
 *     go on is decided by the thread, with their room reserved.
 * V7  During a cut nothing but survivors is written below, and nobody else uses the disk.
 *
 * Shared by all workers. The lock protects what is marked; it is never held over a request to the disk below. Under it nothing
 * is taken but a mailbox's.
 */
#include "cache/volatile.h"

#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "cache/block_finish.h"
#include "cache/held.h"
#include "conf/container.h"
#include "conf/log.h"

/* On their way to the disk below at a time: enough to keep a disk busy. */
enum { DESTAGES = 16 };

/* Part of the room that the thread keeps free, so that writes find some. */
#define SPARE_PART 8

/* What needs a claim before it goes below. */
struct turn {
	struct range range;
	struct uring *ring; /* borrowed: its thread's, which outlives it */
	struct mail mail;
	void (*begin)(struct turn *turn);
};

/* A request from above on its way to the disk below: a read of bytes that are held, or a write that goes past them. */
struct passage {
	struct turn turn;
	struct volatile_disk *volatile_disk; /* borrowed: outlives its requests */
	struct block_req *above;
	struct block_req req; /* the like of it, with an array of its own: layers below consume that */
	struct iovec iov[];
};

/* Bytes of one that is held on their way to the disk below. The thread's own. */
struct destage {
	struct turn turn;
	struct destage *next_free;
	struct volatile_disk *volatile_disk; /* borrowed: has it in an array */
	struct held *held;
	struct block_req req;
	struct iovec iov;
};

struct volatile_disk {
	struct disk disk;
	struct disk *below; /* owned */
	uint64_t bytes_max;
	struct range_lock claims;

	pthread_mutex_t lock;
	struct held_list list;			   /* shared: under lock */
	uint64_t bytes, leaving_bytes;		   /* shared: under lock; the second are of the first */
	uint64_t destaged;			   /* shared: under lock */
	struct block_req *waiting, **last_waiting; /* shared: under lock; for room */
	struct block_req *flushes, **last_flush;   /* shared: under lock; for the next batch */
	struct volatile_cut *cut;		   /* shared: under lock; NULL: none is asked for */
	bool failed;				   /* shared: under lock; V5 */
	bool ending;				   /* shared: under lock */
	bool woken;				   /* shared: under lock; wake is posted */

	/* The thread's. */
	struct uring ring;
	struct mail wake;
	struct destage destages[DESTAGES], *free_destage;
	unsigned busy;		   /* destages under way */
	bool in_batch, last_batch; /* flushes are being served; and then it ends */
	uint64_t batch_upto;	   /* the youngest that they cover */
	struct block_req *served;  /* they */
	struct block_req sync;	   /* sent below for them */
	struct survival survival;  /* in a cut */
	size_t applied;		   /* survivors that are under way or written */
	bool cutting, cut_failed;  /* it has begun; a survivor was lost */

	pthread_t thread;
	sem_t started;
	int start_error;
};

static struct volatile_disk *volatile_of(struct disk *disk)
{
	return container_of(disk, struct volatile_disk, disk);
}

/* With the lock held. */
static void wake(struct volatile_disk *this)
{
	if (this->woken)
		return;
	this->woken = true;
	uring_post(&this->ring, &this->wake);
}

/* Claims. */

static void on_turn(struct mail *mail)
{
	struct turn *turn = container_of(mail, struct turn, mail);

	turn->begin(turn);
}

static void on_granted(struct range *range)
{
	struct turn *turn = container_of(range, struct turn, range);

	turn->mail.read = on_turn;
	uring_post(turn->ring, &turn->mail);
}

/* Requests from above that go below. */

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

/* With the lock held: room that is taken and will stay so. */
static uint64_t staying_bytes(const struct volatile_disk *this)
{
	return this->bytes - this->leaving_bytes;
}

static uint64_t cost_of(const struct block_req *req)
{
	return held_cost_of(req->op, req->length);
}

/* Its room is reserved. */
static int keep(struct volatile_disk *this, struct block_req *req)
{
	uint64_t cost = cost_of(req);
	struct held *held = held_new(req);

	pthread_mutex_lock(&this->lock);
	if (held)
		held_append(&this->list, held); /* V1 */
	else
		this->bytes -= cost;
	if (staying_bytes(this) > this->bytes_max - this->bytes_max / SPARE_PART)
		wake(this);
	pthread_mutex_unlock(&this->lock);
	return held ? 0 : -ENOMEM;
}

static void on_room(struct mail *mail)
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
	wake(this);
}

static int hold(struct volatile_disk *this, struct block_req *req)
{
	uint64_t cost = cost_of(req);
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
	if (req->flags & BLOCK_FUA || cost_of(req) > this->bytes_max)
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
		wake(this);
	}
	pthread_mutex_unlock(&this->lock);
	return failed ? -EIO : DISK_PENDING;
}

static int volatile_submit(struct disk *disk, struct block_req *req)
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

/* The thread: what leaves. */

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

/* There is a free one. */
static void destage(struct volatile_disk *this, struct held *held, uint64_t offset, uint64_t length)
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
		return staying_bytes(this) + cost_of(this->waiting) > this->bytes_max;
	return staying_bytes(this) > this->bytes_max - this->bytes_max / SPARE_PART;
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
	if (req && this->bytes + cost_of(req) <= this->bytes_max) {
		this->bytes += cost_of(req); /* V6 */
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
		req->wait.mail.read = on_room;
		uring_post(req->ring, &req->wait.mail);
	}
	return any;
}

static void make_room(struct volatile_disk *this)
{
	struct held *held;

	do
		while ((held = take_leaving(this)))
			destage(this, held, held->offset, held->length);
	while (admit(this));
}

/* The thread: flushes. */

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

/* The thread: a power cut. */

static void begin_cut(struct volatile_disk *this)
{
	this->cutting = true;
	this->cut_failed = false;
	this->applied = 0;
	pthread_mutex_lock(&this->lock);
	assert(!this->waiting && !this->flushes); /* V7 */
	this->cut->error = survival_draw(&this->list, &this->cut->order, &this->survival);
	pthread_mutex_unlock(&this->lock);
}

static void end_cut(struct volatile_disk *this)
{
	struct volatile_cut *cut;

	this->cutting = false;
	pthread_mutex_lock(&this->lock);
	cut = this->cut;
	this->cut = NULL;
	if (cut->error == 0) {
		held_clear(&this->list);
		this->bytes = this->leaving_bytes = 0;
	}
	pthread_mutex_unlock(&this->lock);
	if (this->cut_failed)
		cut->error = -EIO;
	cut->counts = this->survival.counts;
	survival_fini(&this->survival);
	mailbox_post(cut->owner, &cut->done);
}

static void apply_survivors(struct volatile_disk *this)
{
	while (this->applied < this->survival.count && this->free_destage) {
		const struct survivor *next = &this->survival.survivors[this->applied++];

		destage(this, next->held, next->offset, next->length);
	}
}

/* Begins when nothing is under way any more. Returns whether one has ended. */
static bool advance_cut(struct volatile_disk *this)
{
	bool asked;

	pthread_mutex_lock(&this->lock);
	asked = this->cut;
	pthread_mutex_unlock(&this->lock);
	if (!asked || (!this->cutting && (this->busy > 0 || this->in_batch)))
		return false;
	if (!this->cutting)
		begin_cut(this);
	apply_survivors(this);
	if (this->busy > 0)
		return false;
	end_cut(this);
	return true;
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
	while (advance_cut(this));
}

static void on_wake(struct mail *mail)
{
	struct volatile_disk *this = container_of(mail, struct volatile_disk, wake);

	pthread_mutex_lock(&this->lock);
	this->woken = false;
	pthread_mutex_unlock(&this->lock);
	advance(this);
}

static void *run(void *argument)
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

/* Signals are the main thread's. */
static int create_thread(struct volatile_disk *this)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = -pthread_create(&this->thread, NULL, run, this);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

static int start_thread(struct volatile_disk *this)
{
	int error;

	sem_init(&this->started, 0, 0);
	error = create_thread(this);
	if (!error) {
		while (sem_wait(&this->started) && errno == EINTR)
			;
		error = this->start_error;
		if (error)
			pthread_join(this->thread, NULL);
	}
	sem_destroy(&this->started);
	return error;
}

/* Opening and closing. */

static void fini(struct volatile_disk *this)
{
	range_lock_fini(&this->claims);
	pthread_mutex_destroy(&this->lock);
	free(this);
}

static void volatile_free(struct disk *disk)
{
	struct volatile_disk *this = volatile_of(disk);

	pthread_mutex_lock(&this->lock);
	this->ending = true;
	wake(this);
	pthread_mutex_unlock(&this->lock);
	pthread_join(this->thread, NULL);
	assert(!this->list.oldest && !this->waiting);
	uring_fini(&this->ring);
	disk_free(this->below);
	fini(this);
}

static bool volatile_has_lost(struct disk *disk)
{
	struct volatile_disk *this = volatile_of(disk);
	bool failed;

	pthread_mutex_lock(&this->lock);
	failed = this->failed;
	pthread_mutex_unlock(&this->lock);
	return failed || disk_has_lost(this->below);
}

static void volatile_measure(struct disk *disk)
{
	struct volatile_disk *this = volatile_of(disk);

	disk_measure(this->below);
	disk->facts.size = this->below->facts.size;
}

static void init(struct volatile_disk *this, struct disk *below, uint64_t bytes_max)
{
	static const struct disk_ops ops = { .submit = volatile_submit,
		.measure = volatile_measure,
		.has_lost = volatile_has_lost,
		.free = volatile_free };

	this->disk.ops = &ops;
	this->disk.facts = below->facts;
	this->disk.facts.volatile_cache = true;
	this->disk.facts.can_flush = true;
	this->disk.facts.can_status = false;
	this->disk.facts.identity = 0;
	this->below = below;
	this->bytes_max = bytes_max;
	range_lock_init(&this->claims, on_granted);
	pthread_mutex_init(&this->lock, NULL);
	this->last_waiting = &this->waiting;
	this->last_flush = &this->flushes;
	this->wake.read = on_wake;
	for (int i = 0; i < DESTAGES; i++) {
		this->destages[i] = (struct destage){ .turn = { .ring = &this->ring, .begin = begin_destage },
			.next_free = this->free_destage,
			.volatile_disk = this };
		this->free_destage = &this->destages[i];
	}
}

int volatile_open(struct disk *below, uint64_t bytes_max, struct disk **out)
{
	struct volatile_disk *this = calloc(1, sizeof(*this));
	int error;

	assert(bytes_max >= VOLATILE_BYTES_LEAST && bytes_max <= VOLATILE_BYTES_MOST);
	if (!this)
		return -ENOMEM;
	init(this, below, bytes_max);
	error = start_thread(this);
	if (error) {
		fini(this);
		return error;
	}
	*out = &this->disk;
	return 0;
}

void volatile_cut(struct disk *disk, struct volatile_cut *cut)
{
	struct volatile_disk *this = volatile_of(disk);

	pthread_mutex_lock(&this->lock);
	assert(!this->cut);
	this->cut = cut;
	wake(this);
	pthread_mutex_unlock(&this->lock);
}

struct volatile_counts volatile_count(struct disk *disk)
{
	struct volatile_disk *this = volatile_of(disk);
	struct volatile_counts counts = { 0 };

	pthread_mutex_lock(&this->lock);
	for (const struct held *held = this->list.oldest; held; held = held->younger)
		counts.held++;
	counts.bytes = this->bytes;
	counts.destaged = this->destaged;
	pthread_mutex_unlock(&this->lock);
	return counts;
}
