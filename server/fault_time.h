/* server/fault_time.h -- how long a fault makes its request wait. */
#pragma once

#include "server/fault_when.h"

/* What a limit has promised to those that came before. */
struct fault_bucket {
	uint64_t free_ns; /* CLOCK_MONOTONIC: when its next request may go */
	uint64_t bytes;	  /* that "full" has let through */
};

/* fault_time() - nanoseconds, up to FAULT_TIME_MAX_S, for an @event of a @rule whose action takes FAULT_PLACE_TIME. 0: it need
 * not wait.
 * A limit is a token bucket of one request: what it lets through takes its time, and who comes meanwhile waits for that. */
uint64_t fault_time(const struct fault_rule *rule, struct fault_bucket *bucket,
	const struct fault_event *event, struct fault_random random);
