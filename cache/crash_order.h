/* cache/crash_order.h -- the orders in which changes that overlap in time and place can have taken effect, numbered.
 *
 * Only those that have such a partner count: for all others, the order of submission is as good as any.
 */
#pragma once

#include <stdint.h>

#include "cache/crash.h"

/* Changes with partners that can be put in order; the work doubles with each. */
#define CRASH_ORDER_MAX 16

/* Returns how many there are, at least 1; UINT64_MAX: there are too many changes with partners. */
uint64_t crash_order_count(const struct crash *crash);

/* crash_order_take() - give the changes the points where they take effect in order @number, of those counted.
 * Those without partners have theirs. Returns 0 or -ENOMEM. */
int crash_order_take(struct crash *crash, uint64_t number);
