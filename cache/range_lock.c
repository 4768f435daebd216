/* cache/range_lock.c -- claims in one list, in order of arrival.
 *
 * L1  A claim's blockers are the older claims in the list that it conflicts with; it is held when there are none.
 * L2  A claim is counted when the younger one arrives and discounted when the older one leaves, never else. So claims
 *     wait only for older ones, and there is no cycle.
 * L3  Without an exclusive claim in the list nobody conflicts, so nobody has to look.
 */
#include "cache/range_lock.h"

#include <assert.h>
#include <stddef.h>

void range_lock_init(struct range_lock *lock, void (*granted)(struct range *range))
{
	pthread_mutex_init(&lock->lock, NULL);
	lock->oldest = lock->youngest = NULL;
	lock->exclusive = 0;
	lock->granted = granted;
}

void range_lock_fini(struct range_lock *lock)
{
	assert(!lock->oldest);
	pthread_mutex_destroy(&lock->lock);
}

static bool conflict(const struct range *one, const struct range *other)
{
	return one->start < other->end && other->start < one->end &&
	       (one->kind == RANGE_EXCLUSIVE || other->kind == RANGE_EXCLUSIVE);
}

static unsigned blockers_of(const struct range_lock *lock, const struct range *range)
{
	unsigned count = 0;

	for (const struct range *older = lock->oldest; older; older = older->younger)
		count += conflict(older, range);
	return count;
}

static void append(struct range_lock *lock, struct range *range)
{
	range->older = lock->youngest;
	range->younger = NULL;
	*(lock->youngest ? &lock->youngest->younger : &lock->oldest) = range;
	lock->youngest = range;
}

static void unlink_claim(struct range_lock *lock, struct range *range)
{
	*(range->older ? &range->older->younger : &lock->oldest) = range->younger;
	*(range->younger ? &range->younger->older : &lock->youngest) = range->older;
}

bool range_claim(struct range_lock *lock, struct range *range)
{
	bool held;

	assert(range->start < range->end);
	pthread_mutex_lock(&lock->lock);
	lock->exclusive += range->kind == RANGE_EXCLUSIVE;
	range->blockers = lock->exclusive ? blockers_of(lock, range) : 0; /* L1, L3 */
	append(lock, range);
	held = range->blockers == 0;
	pthread_mutex_unlock(&lock->lock);
	return held;
}

/* Returns the claims that waited for @range last, oldest first. */
static struct range *unblock(struct range *range)
{
	struct range *granted = NULL, **last = &granted;

	for (struct range *younger = range->younger; younger; younger = younger->younger)
		if (conflict(range, younger) && --younger->blockers == 0) {
			younger->next_granted = NULL;
			*last = younger;
			last = &younger->next_granted;
		}
	return granted;
}

void range_release(struct range_lock *lock, struct range *range)
{
	struct range *granted = NULL, *next;

	assert(range->blockers == 0);
	pthread_mutex_lock(&lock->lock);
	if (lock->exclusive)
		granted = unblock(range); /* L2 */
	unlink_claim(lock, range);
	lock->exclusive -= range->kind == RANGE_EXCLUSIVE;
	pthread_mutex_unlock(&lock->lock);
	for (; granted; granted = next) {
		next = granted->next_granted;
		lock->granted(granted);
	}
}
