/* conf/log_limit.c -- a window of one second. */
#include "conf/log_limit.h"

#include <stdbool.h>
#include <stdio.h>

/* @unsaid: lines that earlier seconds had no room for, when the first line of a new one is due. */
static bool may_log(struct log_limit *limit, unsigned *unsaid)
{
	struct timespec now;
	bool may;

	clock_gettime(CLOCK_MONOTONIC, &now);
	*unsaid = 0;
	pthread_mutex_lock(&limit->lock);
	if (now.tv_sec != limit->second) {
		*unsaid = limit->unsaid;
		limit->second = now.tv_sec;
		limit->lines = limit->unsaid = 0;
	}
	may = limit->lines < limit->lines_per_s;
	if (may)
		limit->lines++;
	else
		limit->unsaid++;
	pthread_mutex_unlock(&limit->lock);
	return may;
}

void log_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
{
	char text[LOG_LINE_MAX];
	unsigned unsaid;
	va_list args;

	if (!log_shows(level) || !may_log(limit, &unsaid))
		return;
	if (unsaid)
		log_warning("%u %s", unsaid, limit->rest);
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_line(level, "%s", text);
}
