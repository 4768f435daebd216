/* cache/volatile_parts.h -- the inside of a simulated disk cache, for the files that make it up, and for nobody else.
 *
 *   volatile.c          birth and end, and what it holds
 *   volatile_request.c  requests from above: into the list, past it, or through to the disk below
 *   volatile_thread.c   a thread that brings what is held to the disk below, for room or for a flush
 *   volatile_cut.c      the thread in a power cut
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
#pragma once

#include <pthread.h>
#include <semaphore.h>

#include "cache/held.h"
#include "cache/range_lock.h"
#include "cache/uring.h"
#include "cache/volatile.h"
#include "conf/container.h"

/* On their way to the disk below at a time: enough to keep a disk busy. */
enum { DESTAGES = 16 };

/* Part of the room that the thread keeps free, so that writes find some. */
#define SPARE_PART 8

/* What needs a claim before it goes below. */
struct turn {
	struct range range;
	struct uring *ring; /* borrowed: its thread's, which outlives it */
	struct mail mail;
	void (*begin)(struct turn *turn); /* there, where the claim had to wait */
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

static inline struct volatile_disk *volatile_of(struct disk *disk)
{
	return container_of(disk, struct volatile_disk, disk);
}

/* With the lock held: room that is taken and will stay so. */
static inline uint64_t volatile_staying_bytes(const struct volatile_disk *this)
{
	return this->bytes - this->leaving_bytes;
}

static inline uint64_t volatile_cost_of(const struct block_req *req)
{
	return held_cost_of(req->op, req->length);
}

/* volatile_request.c */
int volatile_submit(struct disk *disk, struct block_req *req);
/* What waited for room may go on, its room reserved; on the thread of its ring. */
void volatile_on_room(struct mail *mail);

/* volatile_thread.c: before it is started, and what it runs. */
void volatile_thread_init(struct volatile_disk *this);
void *volatile_run(void *this);
/* With the lock held: have the thread look at what there is to do. */
void volatile_wake(struct volatile_disk *this);
/* The thread's: @length bytes of @held from @offset on go to the disk below. There is a free destage. */
void volatile_destage(struct volatile_disk *this, struct held *held, uint64_t offset, uint64_t length);

/* volatile_cut.c, the thread's: begin a cut that is asked for, when nothing is under way any more, and bring on one that has
 * begun. Returns whether one has ended. */
bool volatile_advance_cut(struct volatile_disk *this);
