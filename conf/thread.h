/* conf/thread.h -- a thread of a daemon: signals are the main thread's, and the log tells whose it is. */
#pragma once

#include <pthread.h>

/* thread_start() - run @run(@arg), all signals blocked, under the log name of the thread that calls this.
 * Returns 0, or -errno. The caller joins it. */
int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);
