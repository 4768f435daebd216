/* server/fault.c -- a list of rules under a lock: who looks for faults has asked for them, and is in no hurry. */
#include "server/fault.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/log_limit.h"
#include "server/fault_old.h"
#include "server/fault_time.h"
#include "server/limits.h"

struct fault {
	struct fault *next;
	unsigned id;
	struct fault_rule rule;
	struct fault_history history;
	struct fault_bucket bucket;
	struct fault_old *old; /* owned; NULL: the rule keeps nothing */
	uint64_t tickets;      /* given to those that it holds up ... */
	uint64_t released;     /* ... up to this one they may go */
};

/* Of all sets, so that a number names a rule without its export. */
static atomic_uint last_id;

void fault_set_init(struct fault_set *set, const char *export_name)
{
	*set = (struct fault_set){ .name = export_name };
	set->last = &set->first;
	pthread_mutex_init(&set->lock, NULL);
}

static void fault_free(struct fault *fault)
{
	fault_rule_fini(&fault->rule);
	fault_old_free(fault->old);
	free(fault);
}

void fault_set_fini(struct fault_set *set)
{
	fault_set_clear(set);
	pthread_mutex_destroy(&set->lock);
}

/* Adding and removing. */

/* Returns its number, or -errno. */
static int append(struct fault_set *set, struct fault *fault)
{
	int id = -ENOSPC;

	pthread_mutex_lock(&set->lock);
	if (set->count < FAULT_RULES_MAX) {
		id = (int)(fault->id = atomic_fetch_add(&last_id, 1) + 1);
		fault->history.added_ns = fault_now_ns();
		*set->last = fault;
		set->last = &fault->next;
		set->count++;
		atomic_store_explicit(&set->armed, true, memory_order_relaxed);
	}
	pthread_mutex_unlock(&set->lock);
	return id;
}

int fault_set_add(struct fault_set *set, const char *text, char *why, size_t why_size)
{
	struct fault *fault = calloc(1, sizeof(*fault));
	int result = -ENOMEM;

	snprintf(why, why_size, "out of memory");
	if (!fault)
		return result;
	result = fault_rule_parse(
		text, set->name ? FAULT_ON_REQUESTS : FAULT_ON_CLIENTS, &fault->rule, why, why_size);
	if (result)
		goto free_fault;
	if (fault->rule.action == FAULT_DO_corrupt_old) {
		fault->old = fault_old_new();
		if (!fault->old) {
			result = -ENOMEM;
			goto free_fault;
		}
	}
	result = append(set, fault);
	if (result > 0)
		return result;
	snprintf(why, why_size, "there are as many as %d rules already", FAULT_RULES_MAX);
free_fault:
	fault_free(fault);
	return result;
}

/* @link: to the one that goes. */
static void cut_out(struct fault_set *set, struct fault **link)
{
	struct fault *fault = *link;

	*link = fault->next;
	if (set->last == &fault->next)
		set->last = link;
	set->count--;
	if (set->count == 0)
		atomic_store_explicit(&set->armed, false, memory_order_relaxed);
	fault_free(fault);
}

bool fault_set_remove(struct fault_set *set, unsigned id)
{
	bool found = false;

	pthread_mutex_lock(&set->lock);
	for (struct fault **link = &set->first; *link && !found;) {
		found = (*link)->id == id;
		if (found)
			cut_out(set, link);
		else
			link = &(*link)->next;
	}
	pthread_mutex_unlock(&set->lock);
	return found;
}

unsigned fault_set_clear(struct fault_set *set)
{
	unsigned count;

	pthread_mutex_lock(&set->lock);
	count = set->count;
	while (set->first)
		cut_out(set, &set->first);
	pthread_mutex_unlock(&set->lock);
	return count;
}

bool fault_set_release(struct fault_set *set, unsigned id)
{
	bool found = false;

	pthread_mutex_lock(&set->lock);
	for (struct fault *fault = set->first; fault; fault = fault->next) {
		if (id && fault->id != id)
			continue;
		fault->released = fault->tickets;
		found = true;
	}
	pthread_mutex_unlock(&set->lock);
	return found;
}

bool fault_set_holds(struct fault_set *set, unsigned id, uint64_t ticket)
{
	bool holds = false;

	pthread_mutex_lock(&set->lock);
	for (const struct fault *fault = set->first; fault; fault = fault->next)
		holds |= fault->id == id && ticket > fault->released;
	pthread_mutex_unlock(&set->lock);
	return holds;
}

void fault_set_for_each(struct fault_set *set,
	void (*each)(void *context, unsigned id, const char *rule, uint64_t matched, uint64_t fired),
	void *context)
{
	char text[FAULT_RULE_SIZE];

	pthread_mutex_lock(&set->lock);
	for (const struct fault *fault = set->first; fault; fault = fault->next)
		each(context, fault->id, fault_rule_print(&fault->rule, text), fault->history.matched,
			fault->history.fired);
	pthread_mutex_unlock(&set->lock);
}

/* Judging. */

/* What it fired for: "write 4096+512, cookie 0x1", or "accept". */
static void name_event(const struct fault_event *event, char *out, size_t out_size)
{
	unsigned operation = 0;
	int length;

	while (fault_operations[operation].operations != (unsigned)event->operation)
		operation++;
	length = snprintf(out, out_size, "%s", fault_operations[operation].word);
	if (event->operation & FAULT_ON_REQUESTS)
		snprintf(out + length, out_size - (size_t)length,
			" %" PRIu64 "+%" PRIu64 ", cookie 0x%" PRIx64, event->offset, event->length,
			event->cookie);
}

/* "fault 3 of export 'a' (write: delay 20ms): write 4096+512, cookie 0x1, unix, pid 7, uid 0" */
static void report(const struct fault_set *set, const struct fault *fault, const struct fault_event *event)
{
	static struct log_limit limit = LOG_LIMIT(FAULT_LINES_PER_S, "more faults fired than this log tells");
	char name[256] = "the server", rule[FAULT_RULE_SIZE], what[96];

	if (!log_shows(LOG_INFO))
		return;
	if (set->name)
		log_quote(name, sizeof(name), set->name, strlen(set->name));
	fault_rule_print(&fault->rule, rule);
	name_event(event, what, sizeof(what));
	log_limited(&limit, LOG_INFO, "fault %u of %s%s%s (%s): %s, %s", fault->id,
		set->name ? "export '" : "", name, set->name ? "'" : "", rule, what, event->peer);
}

/* Whether @event finds the disk full that was not so before. */
static bool is_full(struct fault *fault, const struct fault_event *event)
{
	if (event->length > fault->rule.arguments[0] - fault->bucket.bytes)
		return true;
	fault->bucket.bytes += event->length;
	return false;
}

static bool take(struct fault_effect *place, const struct fault *fault, struct fault_random random)
{
	if (place->action != FAULT_DO_NOTHING)
		return false;
	place->action = fault->rule.action;
	place->id = fault->id;
	memcpy(place->arguments, fault->rule.arguments, sizeof(place->arguments));
	place->random = random;
	return true;
}

static bool take_time(struct fault *fault, const struct fault_event *event, struct fault_random random,
	struct fault_verdict *out)
{
	uint64_t ns = fault_time(&fault->rule, &fault->bucket, event, random);

	if (ns == 0)
		return false;
	if (out->delay_ns == 0)
		out->delay_id = fault->id;
	out->delay_ns += ns;
	return true;
}

/* Whether there is no reply to which anything could be done. */
static bool is_silent(enum fault_action data)
{
	return data == FAULT_DO_blackhole || data == FAULT_DO_ghost;
}

/* Whether it has an effect, now that its conditions are met. */
static bool take_place(struct fault *fault, const struct fault_event *event, const struct disk_facts *facts,
	const struct block_req *block, struct fault_random random, struct fault_verdict *out)
{
	switch (fault_actions[fault->rule.action].place) {
	case FAULT_PLACE_TIME:
		return take_time(fault, event, random, out);
	case FAULT_PLACE_DATA:
		if (block && !fault_data_applies(&fault->rule, facts, block))
			return false;
		if (fault->rule.action == FAULT_DO_full && !is_full(fault, event))
			return false;
		return take(&out->data, fault, random);
	default:
		return !is_silent(out->data.action) && take(&out->reply, fault, random);
	}
}

bool fault_set_judge(struct fault_set *set, const struct fault_event *event, const struct disk_facts *facts,
	const struct block_req *block, struct fault_verdict *out)
{
	struct fault_random random;
	bool any = false;

	*out = (struct fault_verdict){ .data.action = FAULT_DO_NOTHING, .reply.action = FAULT_DO_NOTHING };
	pthread_mutex_lock(&set->lock);
	for (struct fault *fault = set->first; fault; fault = fault->next) {
		out->keeps |= fault->old && event->operation & FAULT_ON_CHANGES;
		if (!fault_when(&fault->rule, &fault->history, event, &random) ||
			!take_place(fault, event, facts, block, random, out))
			continue;
		fault->history.fired++;
		if (fault->rule.action == FAULT_DO_hold)
			out->ticket = ++fault->tickets;
		report(set, fault, event);
		any = true;
	}
	pthread_mutex_unlock(&set->lock);
	return any || out->keeps;
}

/* Old versions. */

/* The part of a change that @fault's range has, in blocks of the store; false: none, or nothing that it could take. */
static bool is_to_keep(
	const struct fault *fault, uint64_t offset, uint64_t length, uint64_t *from, uint64_t *to)
{
	uint64_t end = offset + length, room;
	bool missing = false;

	if (!fault->old)
		return false;
	*from = fault->rule.has_range && fault->rule.from > offset ? fault->rule.from : offset;
	*to = fault->rule.has_range && fault->rule.to < end ? fault->rule.to : end;
	room = fault_old_room(fault->old);
	if (*from >= *to || room == 0)
		return false;
	*from -= *from % FAULT_OLD_BLOCK;
	if (*to - *from > room * FAULT_OLD_BLOCK)
		*to = *from + room * FAULT_OLD_BLOCK;
	for (uint64_t at = *from; at < *to && !missing; at += FAULT_OLD_BLOCK)
		missing = !fault_old_has(fault->old, at);
	return missing;
}

bool fault_set_keeps(struct fault_set *set, const struct disk_facts *facts, uint64_t offset, uint64_t length,
	uint64_t *from, uint64_t *to)
{
	uint64_t grid = facts->block_size_min > FAULT_OLD_BLOCK ? facts->block_size_min : FAULT_OLD_BLOCK;
	uint64_t size = facts->size;
	bool any = false;

	*from = UINT64_MAX;
	*to = 0;
	pthread_mutex_lock(&set->lock);
	for (const struct fault *fault = set->first; fault; fault = fault->next) {
		uint64_t start, end;

		if (!is_to_keep(fault, offset, length, &start, &end))
			continue;
		any = true;
		*from = start < *from ? start : *from;
		*to = end > *to ? end : *to;
	}
	pthread_mutex_unlock(&set->lock);
	if (!any)
		return false;
	*from -= *from % grid;
	*to += (grid - *to % grid) % grid;
	if (*to - *from > FAULT_OLD_BYTES_MAX)
		*to = *from + FAULT_OLD_BYTES_MAX;
	*to = *to < size ? *to : size;
	return *from < *to;
}

void fault_set_keep(struct fault_set *set, uint64_t from, uint64_t to, const uint8_t *bytes)
{
	pthread_mutex_lock(&set->lock);
	for (struct fault *fault = set->first; fault; fault = fault->next) {
		uint64_t start, end;

		if (!is_to_keep(fault, from, to - from, &start, &end))
			continue;
		for (uint64_t at = start; at < end && at < to; at += FAULT_OLD_BLOCK)
			fault_old_keep(fault->old, at, bytes + (at - from),
				to - at < FAULT_OLD_BLOCK ? to - at : FAULT_OLD_BLOCK);
	}
	pthread_mutex_unlock(&set->lock);
}

void fault_set_recall(struct fault_set *set, unsigned id, uint64_t offset, uint64_t length, uint8_t *data)
{
	pthread_mutex_lock(&set->lock);
	for (const struct fault *fault = set->first; fault; fault = fault->next)
		if (fault->id == id && fault->old)
			fault_old_recall(fault->old, offset, length, data);
	pthread_mutex_unlock(&set->lock);
}
