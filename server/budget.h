/* server/budget.h -- memory for the data of requests, shared by all connections beyond CONNECTION_RESERVE of each: many large
 * requests at a time wait for each other instead of taking what the machine does not have.
 *
 * Claims that wait are granted in their order, so that a large one is not overtaken for ever. Any thread.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "conf/mailbox.h"

struct claim;
struct uring;

struct budget {
	pthread_mutex_t lock;
	size_t free;		     /* shared: under lock; bytes */
	struct claim *first, **last; /* shared: under lock */
	atomic_bool wanted;	     /* shared: whether claims wait, written under lock */
};

/* Somebody's wish for memory, and the letter that tells of its being granted. */
struct claim {
	struct claim *next, **link; /* the budget's while it waits */
	size_t bytes;
	bool waiting;	     /* shared: under the budget's lock */
	struct uring *ring;  /* borrowed: outlives the claim; where the letter goes */
	struct mail granted; /* read() is the claimant's */
};

void budget_init(struct budget *budget, size_t bytes);
/* After all was given back. */
void budget_fini(struct budget *budget);

/* budget_take() - @bytes, at most what there is in all, for the owner of @claim, who has no other claim that waits.
 * Returns whether it has them at once; if not, @claim->granted is posted to @claim->ring when it has. */
bool budget_take(struct budget *budget, struct claim *claim, size_t bytes);

/* budget_withdraw() - @claim does not wait any more. Returns false where that is too late: its letter is on the way. */
bool budget_withdraw(struct budget *budget, struct claim *claim);

void budget_give(struct budget *budget, size_t bytes);

/* Whether somebody waits. */
static inline bool budget_is_wanted(const struct budget *budget)
{
	return atomic_load_explicit(&budget->wanted, memory_order_relaxed);
}
