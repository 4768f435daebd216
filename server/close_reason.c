/* server/close_reason.c -- counters, and a log that a hostile client cannot fill. */
#include "server/close_reason.h"

#include <stdatomic.h>

#include "conf/log.h"
#include "server/limits.h"
#include "server/log_window.h"

static const struct {
	enum log_level level;
	const char *words;
} rows[CLOSE_REASONS] = {
#define CLOSE_REASON(name, level, words) [CLOSE_##name] = { level, words },
#include "server/close_reasons.def"
#undef CLOSE_REASON
};

static _Atomic uint64_t counters[CLOSE_REASONS];

static struct log_window window = LOG_WINDOW(CLOSE_LINES_PER_S);

void close_report(enum close_reason reason, const char *peer)
{
	unsigned unsaid;

	atomic_fetch_add_explicit(&counters[reason], 1, memory_order_relaxed);
	if (!log_shows(rows[reason].level) || !log_window_admits(&window, &unsaid))
		return;
	if (unsaid)
		log_warning("%u more connections ended than this log tells", unsaid);
	log_line(rows[reason].level, "%s: %s", peer, rows[reason].words);
}

uint64_t close_count(enum close_reason reason)
{
	return atomic_load_explicit(&counters[reason], memory_order_relaxed);
}
