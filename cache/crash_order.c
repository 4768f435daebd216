/* cache/crash_order.c -- counts linear extensions of "was answered before the other came", over sets of what is left.
 *
 * Points: each takes effect when it was submitted, or as soon after that as the one before it in the order did. That is never
 * after its answer: whoever delayed it came before the answer, or the answer would have put it first. */
#include "cache/crash_order.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct orders {
	size_t places[CRASH_ORDER_MAX];	   /* in crash->changes */
	uint32_t earlier[CRASH_ORDER_MAX]; /* those that have to be before it, as bits */
	unsigned count;
	uint64_t *left; /* owned: orders of what is left, by the set of those that are gone */
};

/* Returns whether there are few enough. */
static bool collect(const struct crash *crash, struct orders *orders)
{
	orders->count = 0;
	for (size_t i = 0; i < crash->end - crash->settled; i++) {
		if (!crash->changes[i].has_partner)
			continue;
		if (orders->count == CRASH_ORDER_MAX)
			return false;
		orders->places[orders->count++] = i;
	}
	return true;
}

static void compare(const struct crash *crash, struct orders *orders)
{
	for (unsigned i = 0; i < orders->count; i++) {
		const struct history_request *later = crash->changes[orders->places[i]].change->request;

		orders->earlier[i] = 0;
		for (unsigned j = 0; j < i; j++)
			if (crash->changes[orders->places[j]].change->request->completed < later->submitted)
				orders->earlier[i] |= 1u << j;
	}
}

static bool may_follow(const struct orders *orders, uint32_t gone, unsigned i)
{
	return !(gone & 1u << i) && (orders->earlier[i] & ~gone) == 0;
}

/* 16! fits. Returns 0 or -ENOMEM. */
static int count(struct orders *orders)
{
	uint32_t all = (1u << orders->count) - 1;

	orders->left = calloc((size_t)all + 1, sizeof(*orders->left));
	if (!orders->left)
		return -ENOMEM;
	orders->left[all] = 1;
	for (uint32_t gone = all; gone-- > 0;)
		for (unsigned i = 0; i < orders->count; i++)
			if (may_follow(orders, gone, i))
				orders->left[gone] += orders->left[gone | 1u << i];
	return 0;
}

uint64_t crash_order_count(const struct crash *crash)
{
	struct orders orders;
	uint64_t total;

	if (!collect(crash, &orders))
		return UINT64_MAX;
	compare(crash, &orders);
	if (count(&orders))
		return UINT64_MAX;
	total = orders.left[0];
	free(orders.left);
	return total;
}

static void walk(struct crash *crash, const struct orders *orders, uint64_t number)
{
	uint64_t point = 0;
	unsigned rank = 0;

	for (uint32_t gone = 0; gone != (1u << orders->count) - 1;) {
		struct crash_change *change;
		unsigned i = 0;

		for (;; i++) {
			assert(i < orders->count);
			if (!may_follow(orders, gone, i))
				continue;
			if (number < orders->left[gone | 1u << i])
				break;
			number -= orders->left[gone | 1u << i];
		}
		gone |= 1u << i;
		change = &crash->changes[orders->places[i]];
		if (point < change->takes_effect)
			point = change->takes_effect;
		change->takes_effect = point;
		change->rank = rank++;
	}
}

int crash_order_take(struct crash *crash, uint64_t number)
{
	struct orders orders;

	if (!collect(crash, &orders))
		return 0;
	compare(crash, &orders);
	if (count(&orders))
		return -ENOMEM;
	walk(crash, &orders, number);
	free(orders.left);
	return 0;
}
