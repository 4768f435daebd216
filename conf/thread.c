/* conf/thread.c -- what a new thread has from the one that started it. */
#include "conf/thread.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "conf/log.h"

struct start {
	void *(*run)(void *arg);
	void *arg;
	const char *log_name;
};

static void *begin(void *arg)
{
	struct start start = *(struct start *)arg;

	free(arg);
	log_name_thread(start.log_name);
	return start.run(start.arg);
}

int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
	struct start *start = malloc(sizeof(*start));
	sigset_t all, before;
	int error;

	if (!start)
		return -ENOMEM;
	*start = (struct start){ run, arg, log_thread_name() };
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(thread, NULL, begin, start);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		free(start);
	return -error;
}
