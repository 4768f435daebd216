/* conf/log_limit.h -- lines that someone hostile can cause, a few a second of them and the number of the rest.
 *
 * For events that a peer, a guest or a VMM can repeat as often as it likes. A limit is shared by all that may be logged
 * under it, whatever thread they are on.
 */
#pragma once

#include <pthread.h>
#include <time.h>

#include "conf/log.h"

struct log_limit {
	unsigned lines_per_s; /* constant */
	const char
		*rest; /* constant: what those are that were not shown: "more connections ended than ..." */
	pthread_mutex_t lock;
	/* The second that is being filled, under lock. */
	time_t second;
	unsigned lines, unsaid;
};

#define LOG_LIMIT(lines_per_s, rest)                                  \
	{                                                             \
		lines_per_s, rest, PTHREAD_MUTEX_INITIALIZER, 0, 0, 0 \
	}

/* log_limited() - as log_line(), if there is room in this second; the first line of the next one follows the number of
 * those left out. */
__attribute__((format(printf, 3, 4))) void log_limited(
	struct log_limit *limit, enum log_level level, const char *format, ...);
