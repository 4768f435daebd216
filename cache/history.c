/* cache/history.c -- puts submissions and completions together, and finds which changes overlap in time and place. */
#include "cache/history.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/block.h"

/* Makes room for one more in an array that doubles. Returns 0 or -ENOMEM. */
static int grow(void **array, size_t count, size_t element)
{
	void *more;

	if (count & (count - 1))
		return 0;
	more = reallocarray(*array, count ? 2 * count : 1, element);
	if (!more)
		return -ENOMEM;
	*array = more;
	return 0;
}

static int by_submission(const void *key, const void *element)
{
	uint64_t wanted = *(const uint64_t *)key,
		 found = ((const struct history_request *)element)->submitted;

	return wanted < found ? -1 : wanted > found;
}

static int add_request(struct history *history, const struct record_entry *entry)
{
	if (grow((void **)&history->requests, history->request_count, sizeof(*history->requests)))
		return -ENOMEM;
	history->requests[history->request_count++] = (struct history_request){
		.submitted = entry->sequence,
		.completed = HISTORY_NEVER,
		.offset = entry->offset,
		.length = entry->length,
		.data_at = history->reader.data_at,
		.op = (uint16_t)entry->op,
		.flags = (uint16_t)entry->flags,
	};
	return 0;
}

static int add_flush(struct history *history, uint64_t entry)
{
	if (grow((void **)&history->flushes, history->flush_count, sizeof(*history->flushes)))
		return -ENOMEM;
	history->flushes[history->flush_count++] = entry;
	return 0;
}

/* Returns 0; -EBADMSG: it completes nothing that is in flight; or -ENOMEM. */
static int complete(struct history *history, const struct record_entry *entry)
{
	struct history_request *request = NULL;

	if (history->request_count > 0)
		request = bsearch(&entry->request, history->requests, history->request_count,
			sizeof(*history->requests), by_submission);
	if (!request || request->completed != HISTORY_NEVER)
		return -EBADMSG;
	request->completed = entry->sequence;
	request->status = entry->status;
	return request->op == BLOCK_FLUSH && entry->status == 0 ? add_flush(history, entry->sequence) : 0;
}

static int take(struct history *history, const struct record_entry *entry)
{
	history->time_ns = entry->time_ns;
	if (entry->event == RECORD_SUBMITTED)
		return add_request(history, entry);
	if (entry->event == RECORD_COMPLETED)
		return complete(history, entry);
	if (entry->offset > history->disk_size)
		history->disk_size = entry->offset;
	return 0;
}

static int read_entries(struct history *history, char *why, size_t why_size)
{
	struct record_entry entry;
	int more;

	history->disk_size = history->reader.disk_size;
	while ((more = record_reader_next(&history->reader, &entry, why, why_size)) > 0) {
		int error = take(history, &entry);

		if (error == -EBADMSG)
			snprintf(why, why_size,
				"%s: entry %" PRIu64 ": completes request %" PRIu64
				", which is not in flight",
				history->reader.path, entry.sequence, entry.request);
		else if (error)
			snprintf(why, why_size, "%s: out of memory", history->reader.path);
		if (error)
			return error;
	}
	history->entries = history->reader.sequence;
	return more;
}

static bool changes_bytes(const struct history_request *request)
{
	return request->op == BLOCK_WRITE || request->op == BLOCK_ZERO || request->op == BLOCK_TRIM;
}

static bool overlap(const struct history_request *a, const struct history_request *b)
{
	return a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

/* @active: the changes that may be in flight, by index; those that no longer are when @index came are dropped.
 * Returns how many are in flight then. */
static size_t meet(struct history *history, size_t *active, size_t count, size_t index)
{
	struct history_change *change = &history->changes[index];
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		struct history_change *other = &history->changes[active[i]];

		if (other->request->completed < change->request->submitted)
			continue;
		active[kept++] = active[i];
		if (!overlap(other->request, change->request))
			continue;
		if (change->partner_first > active[i])
			change->partner_first = active[i];
		if (other->partner_first == active[i])
			other->partner_first = index;
	}
	active[kept++] = index;
	return kept;
}

static int pair_changes(struct history *history, size_t *active)
{
	size_t count = 0;

	for (size_t i = 0, index = 0; i < history->request_count; i++) {
		if (!changes_bytes(&history->requests[i]))
			continue;
		history->changes[index] = (struct history_change){ &history->requests[i], index };
		count = meet(history, active, count, index++);
		if (count > HISTORY_IN_FLIGHT_MAX)
			return -EBADMSG;
	}
	return 0;
}

static int find_changes(struct history *history)
{
	size_t *active;
	int error = -ENOMEM;

	for (size_t i = 0; i < history->request_count; i++)
		history->change_count += changes_bytes(&history->requests[i]);
	history->changes = calloc(history->change_count + 1, sizeof(*history->changes));
	active = calloc(history->change_count + 1, sizeof(*active));
	if (history->changes && active)
		error = pair_changes(history, active);
	free(active);
	return error;
}

int history_load(struct history *history, const char *path, char *why, size_t why_size)
{
	int error;

	*history = (struct history){ 0 };
	error = record_reader_open(&history->reader, path, why, why_size);
	if (error)
		return error;
	error = read_entries(history, why, why_size);
	if (!error) {
		error = find_changes(history);
		if (error)
			snprintf(why, why_size, "%s: %s", path,
				error == -ENOMEM ? "out of memory" : "more requests in flight than can be");
	}
	if (error)
		history_free(history);
	return error;
}

void history_free(struct history *history)
{
	record_reader_close(&history->reader);
	free(history->requests);
	free(history->changes);
	free(history->flushes);
}
