/* server/fault_when.c -- one question after the other. */
#include "server/fault_when.h"

#include <time.h>

uint64_t fault_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool fault_when_overlaps(const struct fault_rule *rule, const struct fault_event *event)
{
	if (!rule->has_range)
		return true;
	return event->length > 0 && event->offset < rule->to && rule->from < event->offset + event->length;
}

static bool is_meant(const struct fault_rule *rule, const struct fault_event *event)
{
	if (rule->client_count > 0 && !access_allows(&rule->access, event->who))
		return false;
	return !fault_rule_has(rule, FAULT_IF_connection) ||
	       rule->conditions[FAULT_IF_connection] == event->connection;
}

static bool matches(
	const struct fault_rule *rule, const struct fault_history *history, const struct fault_event *event)
{
	return rule->operations & event->operation && fault_when_overlaps(rule, event) &&
	       is_meant(rule, event) &&
	       event->now_ns - history->added_ns >= rule->conditions[FAULT_IF_after_time];
}

static bool is_exhausted(const struct fault_rule *rule, const struct fault_history *history)
{
	if (fault_rule_has(rule, FAULT_IF_once))
		return history->fired >= 1;
	return fault_rule_has(rule, FAULT_IF_times) && history->fired >= rule->conditions[FAULT_IF_times];
}

static bool is_drawn(const struct fault_rule *rule, struct fault_random random)
{
	return !fault_rule_has(rule, FAULT_IF_p) ||
	       fault_random_below(random, FAULT_DRAW_FIRES, FAULT_PART_ONE) < rule->conditions[FAULT_IF_p];
}

bool fault_when(const struct fault_rule *rule, struct fault_history *history, const struct fault_event *event,
	struct fault_random *random)
{
	uint64_t skipped = rule->conditions[FAULT_IF_after_count];

	if (!matches(rule, history, event))
		return false;
	history->matched++;
	*random = (struct fault_random){ rule->conditions[FAULT_IF_seed], history->matched };
	if (history->matched <= skipped || is_exhausted(rule, history))
		return false;
	if (fault_rule_has(rule, FAULT_IF_every) &&
		(history->matched - skipped) % rule->conditions[FAULT_IF_every] != 0)
		return false;
	return is_drawn(rule, *random);
}
