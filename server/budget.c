/* server/budget.c -- a number, and those who wait for a part of it, in order. */
#include "server/budget.h"

#include <assert.h>

#include "cache/uring.h"

void budget_init(struct budget *budget, size_t bytes)
{
	*budget = (struct budget){ .lock = PTHREAD_MUTEX_INITIALIZER, .free = bytes };
	budget->last = &budget->first;
}

void budget_fini(struct budget *budget)
{
	assert(!budget->first);
	pthread_mutex_destroy(&budget->lock);
}

static void enqueue(struct budget *budget, struct claim *claim)
{
	claim->waiting = true;
	claim->next = NULL;
	claim->link = budget->last;
	*budget->last = claim;
	budget->last = &claim->next;
	atomic_store_explicit(&budget->wanted, true, memory_order_relaxed);
}

static void dequeue(struct budget *budget, struct claim *claim)
{
	claim->waiting = false;
	*claim->link = claim->next;
	if (claim->next)
		claim->next->link = claim->link;
	else
		budget->last = claim->link;
	atomic_store_explicit(&budget->wanted, budget->first, memory_order_relaxed);
}

/* As many of those who wait as there is memory for. */
static void grant(struct budget *budget)
{
	struct claim *claim;

	while ((claim = budget->first) && claim->bytes <= budget->free) {
		dequeue(budget, claim);
		budget->free -= claim->bytes;
		uring_post(claim->ring, &claim->granted);
	}
}

bool budget_take(struct budget *budget, struct claim *claim, size_t bytes)
{
	bool has;

	pthread_mutex_lock(&budget->lock);
	has = !budget->first && bytes <= budget->free;
	claim->bytes = bytes;
	if (has)
		budget->free -= bytes;
	else
		enqueue(budget, claim);
	pthread_mutex_unlock(&budget->lock);
	return has;
}

bool budget_withdraw(struct budget *budget, struct claim *claim)
{
	bool waited;

	pthread_mutex_lock(&budget->lock);
	waited = claim->waiting;
	if (waited) {
		dequeue(budget, claim);
		/* Those behind it may want less. */
		grant(budget);
	}
	pthread_mutex_unlock(&budget->lock);
	return waited;
}

void budget_give(struct budget *budget, size_t bytes)
{
	pthread_mutex_lock(&budget->lock);
	budget->free += bytes;
	grant(budget);
	pthread_mutex_unlock(&budget->lock);
}
