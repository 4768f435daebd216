/* server/log_window.h -- so many lines a second and no more, so that nobody can fill the log. Any thread. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

struct log_window {
	pthread_mutex_t lock;
	unsigned lines_per_s;
	/* shared: under lock; the second that is being filled */
	time_t second;
	unsigned lines, unsaid;
};

#define LOG_WINDOW(most_a_second)                                                 \
	{                                                                         \
		.lock = PTHREAD_MUTEX_INITIALIZER, .lines_per_s = (most_a_second) \
	}

/* log_window_admits() - whether a line may be written now.
 * @unsaid: lines that earlier seconds had no room for, when the first line of a new one is due; or else 0. */
bool log_window_admits(struct log_window *window, unsigned *unsaid);
