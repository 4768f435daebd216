/* server/fault_when.h -- whether a rule fires for a request, or for a connection that has none yet.
 *
 * What has the rule's operation, range and client, once its time has come, is counted: that is what it matches. Of these, the
 * first "after" are left out; of the rest each "every"th; of these, each with probability "p"; until it has fired as often as
 * it may. What happens to the Nth that matches depends on N and the seed alone: so one connection that sends the same requests
 * meets the same faults, whatever the workers do. Several connections share the counter, and are counted as they come.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "server/fault_random.h"
#include "server/fault_rule.h"

struct fault_event {
	enum fault_operation operation; /* one bit */
	uint64_t offset, length;	/* bytes; length 0: about none */
	uint64_t cookie;		/* for the log */
	const char *peer;		/* for the log */
	const struct identity *who;
	uint64_t connection; /* its number */
	uint64_t now_ns;     /* CLOCK_MONOTONIC */
};

struct fault_history {
	uint64_t added_ns;
	uint64_t matched, fired;
};

/* CLOCK_MONOTONIC. */
uint64_t fault_now_ns(void);

/* fault_when() - count @event in @history->matched if it matches; returns whether the rule fires for it. If so, @random gets
 * what it may draw from. Whoever makes something happen counts it in @history->fired. */
bool fault_when(const struct fault_rule *rule, struct fault_history *history, const struct fault_event *event,
	struct fault_random *random);

/* Whether the rule's range has bytes of @event. Without a range: always. */
bool fault_when_overlaps(const struct fault_rule *rule, const struct fault_event *event);
