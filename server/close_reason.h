/* server/close_reason.h -- why connections ended: a counter and a line in the log each. Rows: close_reasons.def. */
#pragma once

#include <stdint.h>

enum close_reason {
#define CLOSE_REASON(name, level, words) CLOSE_##name,
#include "server/close_reasons.def"
#undef CLOSE_REASON
	CLOSE_REASONS,
};

/* close_report() - count it and log it; at most CLOSE_LINES_PER_S lines a second, any thread.
 * @peer: address_text() of the client. */
void close_report(enum close_reason reason, const char *peer);

/* Connections ended for @reason since the start. */
uint64_t close_count(enum close_reason reason);
