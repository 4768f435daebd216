/* server/close_reason.c -- counters, and a log that a hostile client cannot fill. */
#include "server/close_reason.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "conf/log.h"
#include "server/limits.h"

static const struct {
	enum log_level level;
	const char *words;
} rows[CLOSE_REASONS] = {
#define CLOSE_REASON(name, level, words) [CLOSE_##name] = { level, words },
#include "server/close_reasons.def"
#undef CLOSE_REASON
};

static _Atomic uint64_t counters[CLOSE_REASONS];

/* The second that is being filled, under lock. */
static struct {
	pthread_mutex_t lock;
	time_t second;
	unsigned lines, unsaid;
} window = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* @unsaid: lines that earlier seconds had no room for, when the first line of a new one is due. */
static bool may_log(unsigned *unsaid)
{
	struct timespec now;
	bool may;

	clock_gettime(CLOCK_MONOTONIC, &now);
	*unsaid = 0;
	pthread_mutex_lock(&window.lock);
	if (now.tv_sec != window.second) {
		*unsaid = window.unsaid;
		window.second = now.tv_sec;
		window.lines = window.unsaid = 0;
	}
	may = window.lines < CLOSE_LINES_PER_S;
	if (may)
		window.lines++;
	else
		window.unsaid++;
	pthread_mutex_unlock(&window.lock);
	return may;
}

void close_report(enum close_reason reason, const char *peer)
{
	unsigned unsaid;

	atomic_fetch_add_explicit(&counters[reason], 1, memory_order_relaxed);
	if (!log_shows(rows[reason].level) || !may_log(&unsaid))
		return;
	if (unsaid)
		log_warning("%u more connections ended than this log tells", unsaid);
	log_line(rows[reason].level, "%s: %s", peer, rows[reason].words);
}

uint64_t close_count(enum close_reason reason)
{
	return atomic_load_explicit(&counters[reason], memory_order_relaxed);
}
