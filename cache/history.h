/* cache/history.h -- a record as a whole: what a disk was asked, when, and when it had answered.
 *
 * Time is counted in entries: moment N is when N entries had been written. A request that was submitted by entry S and
 * completed by entry C is in flight at the moments from S + 1 to C.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/record_reader.h"

#define HISTORY_NEVER UINT64_MAX

/* Changes in flight at a time; more than a server's connections can have. What finds overlaps looks at all of them. */
#define HISTORY_IN_FLIGHT_MAX 65536

struct history_request {
	uint64_t submitted, completed; /* entries; HISTORY_NEVER: it was not answered */
	uint64_t offset, length;       /* bytes */
	uint64_t data_at;	       /* bytes in the record: of a write */
	uint16_t op, flags;
	int status; /* of a completed one: 0 or -errno */
};

/* A request that changes bytes: a write, a zero, a trim. */
struct history_change {
	const struct history_request *request; /* borrowed: the history's */
	/* The first of the others that overlap it in time and place, as an index of changes; its own index: there is none. */
	size_t partner_first;
};

struct history {
	struct record_reader reader;	  /* at its end */
	struct history_request *requests; /* owned; in the order of their submission */
	size_t request_count;
	struct history_change *changes; /* owned; likewise */
	size_t change_count;
	uint64_t *flushes; /* owned; entries at which a flush had completed with success, ascending */
	size_t flush_count;
	uint64_t entries;
	uint64_t disk_size; /* bytes; the largest there was */
	uint64_t time_ns;   /* of the last entry */
};

/* history_load() - read the record at @path, which is borrowed. Returns 0; or -errno with a line in @why, and nothing to
 * free: -EBADMSG: it is damaged. The memory it takes is in proportion to the file's entries. */
int history_load(struct history *history, const char *path, char *why, size_t why_size);
void history_free(struct history *history);
