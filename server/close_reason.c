/* server/close_reason.c -- counters, and a log that a hostile client cannot fill. */
#include "server/close_reason.h"

#include <stdatomic.h>

#include "conf/log_limit.h"
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

static struct log_limit limit = LOG_LIMIT(CLOSE_LINES_PER_S, "more connections ended than this log tells");

void close_report(enum close_reason reason, const char *peer)
{
	atomic_fetch_add_explicit(&counters[reason], 1, memory_order_relaxed);
	log_limited(&limit, rows[reason].level, "%s: %s", peer, rows[reason].words);
}

uint64_t close_count(enum close_reason reason)
{
	return atomic_load_explicit(&counters[reason], memory_order_relaxed);
}
