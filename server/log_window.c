/* server/log_window.c -- counts lines in the second that is now. */
#include "server/log_window.h"

bool log_window_admits(struct log_window *window, unsigned *unsaid)
{
	struct timespec now;
	bool may;

	clock_gettime(CLOCK_MONOTONIC, &now);
	*unsaid = 0;
	pthread_mutex_lock(&window->lock);
	if (now.tv_sec != window->second) {
		*unsaid = window->unsaid;
		window->second = now.tv_sec;
		window->lines = window->unsaid = 0;
	}
	may = window->lines < window->lines_per_s;
	if (may)
		window->lines++;
	else
		window->unsaid++;
	pthread_mutex_unlock(&window->lock);
	return may;
}
