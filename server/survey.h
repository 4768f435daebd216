/* server/survey.h -- which sessions there are: every worker is asked, and the answers come together on the main thread.
 *
 * Costs a worker nothing but the time it takes to write its sessions down.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "conf/address.h"
#include "conf/mailbox.h"

struct worker;

struct survey_entry {
	char peer[ADDRESS_TEXT_SIZE];
	char *export;	 /* owned by the survey */
	uint64_t number; /* of the connection, since the server began */
	time_t since;	 /* when it was ready for the worker */
};

/* survey_start() - ask @count > 0 workers, none of which ends before what was posted to it until now is read.
 * @found runs once, later, on the thread of @home, for each worker, and @done after the last one. @entries NULL: this worker
 * lacks the memory to tell.
 * Returns 0, or -ENOMEM: neither runs. */
int survey_start(struct worker *workers, unsigned count, struct mailbox *home,
	void (*found)(void *context, const struct survey_entry *entries, size_t count),
	void (*done)(void *context), void *context);
