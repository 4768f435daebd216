/* cache/range_lock.h -- who may work on which bytes now: shared claims pass each other, an exclusive one has its bytes
 * alone.
 *
 * Claims that overlap, one of them exclusive, are granted in the order in which they were made, so nobody starves and
 * a thread that holds one claim at a time cannot deadlock. Claims that do not overlap never wait for each other.
 *
 * Any thread may claim and release. While no exclusive claim exists, both are one short critical section of constant
 * time; an exclusive one looks at every claim there is.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum range_kind { RANGE_SHARED, RANGE_EXCLUSIVE };

/* A claim. The claimant owns the memory, fills in @start, @end (bytes, start < end) and @kind, and leaves it alone from
 * range_claim() to range_release(). */
struct range {
	uint64_t start, end;
	enum range_kind kind;
	unsigned blockers;	       /* the lock's: older claims that this one waits for */
	struct range *older, *younger; /* the lock's */
	struct range *next_granted;    /* the lock's */
};

struct range_lock {
	pthread_mutex_t lock;
	struct range *oldest, *youngest; /* shared: under lock, as is the content of every claim in it */
	unsigned exclusive;		 /* shared: under lock; exclusive claims, held or waiting */
	void (*granted)(struct range *range);
};

/* @granted: runs once for every claim that had to wait, on the thread whose release let it in, without the lock. */
void range_lock_init(struct range_lock *lock, void (*granted)(struct range *range));
void range_lock_fini(struct range_lock *lock);

/* Returns true: @range is held now, granted() will not run. False: granted() will run. */
bool range_claim(struct range_lock *lock, struct range *range);

/* @range is held by the caller, and no longer once this returns. */
void range_release(struct range_lock *lock, struct range *range);
