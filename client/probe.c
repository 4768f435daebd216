/* client/probe.c -- one question after the other, in a straight line, on a thread that may block. */
#include "client/probe.h"

#include <errno.h>
#include <libnbd.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "client/nbd_error.h"
#include "client/trust.h"
#include "conf/container.h"
#include "conf/log.h"
#include "conf/thread.h"

#define WHY_SIZE TRUST_WHY_SIZE

struct probe {
	struct probe_config config;
	pthread_t thread;
	int wake; /* owned: an eventfd: there is something among the next two */
	/* shared: the loop's thread writes; ask is taken by the probe's */
	atomic_bool stop, ask;

	struct mail answer, end;
	atomic_bool posted; /* shared: the answer waits in the loop's mailbox */
	_Atomic uint64_t bytes;
	bool over; /* the loop's thread's: no more answers */
};

/* -- waiting ------------------------------------------------------------------------------------------------------ */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void empty(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0)
		log_debug("probe: nothing to wake for: %s", strerror(errno));
}

static short events_of(unsigned direction)
{
	return (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
		       (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
}

/* Returns -1 where libnbd fails, with its words in @why. */
static int step(const struct probe *probe, struct nbd_handle *nbd, int64_t left_ms, char why[WHY_SIZE])
{
	struct pollfd fds[2] = {
		{ .fd = nbd_aio_get_fd(nbd), .events = events_of(nbd_aio_get_direction(nbd)) },
		{ .fd = probe->wake, .events = POLLIN },
	};
	int failed = 0;

	if (poll(fds, 2, (int)left_ms) < 0)
		return 0;
	if (fds[1].revents)
		empty(probe->wake);
	if (fds[0].revents & fds[0].events & POLLOUT)
		failed = nbd_aio_notify_write(nbd);
	else if (fds[0].revents)
		failed = nbd_aio_notify_read(nbd);
	if (failed)
		libnbd_why(probe->config.uri, why, WHY_SIZE);
	return failed;
}

/* Until libnbd has connected, or has the answer to an option. Returns 0, or -1 with the reason in @why. */
static int settle(const struct probe *probe, struct nbd_handle *nbd, int64_t deadline_ms, char why[WHY_SIZE])
{
	while (nbd_aio_is_connecting(nbd)) {
		int64_t left_ms = deadline_ms - now_ms();

		if (probe->stop || left_ms <= 0) {
			snprintf(why, WHY_SIZE, "no answer in time");
			return -1;
		}
		if (step(probe, nbd, left_ms, why))
			return -1;
	}
	return 0;
}

/* -- one question ------------------------------------------------------------------------------------------------- */

static int keep_error(void *user_data, int *error)
{
	*(int *)user_data = *error;
	return 1;
}

/* Returns whether the server has answered the option. */
static bool ask_by(int (*option)(struct nbd_handle *nbd, nbd_completion_callback callback),
	const struct probe *probe, struct nbd_handle *nbd, int64_t deadline_ms, char why[WHY_SIZE])
{
	int error = 0;

	if (option(nbd, (nbd_completion_callback){ .callback = keep_error, .user_data = &error }) ||
		settle(probe, nbd, deadline_ms, why))
		return false;
	if (error)
		strerror_r(error, why, WHY_SIZE);
	return error == 0;
}

static bool is_told(
	const struct probe *probe, struct nbd_handle *nbd, int64_t deadline_ms, char why[WHY_SIZE])
{
	/* An old server has told all by now. */
	if (nbd_aio_is_ready(nbd))
		return true;
	return ask_by(nbd_aio_opt_info, probe, nbd, deadline_ms, why) ||
	       (nbd_aio_is_negotiating(nbd) && ask_by(nbd_aio_opt_go, probe, nbd, deadline_ms, why));
}

static void say_goodbye(const struct probe *probe, struct nbd_handle *nbd, int64_t deadline_ms)
{
	char why[WHY_SIZE];

	if (nbd_aio_is_negotiating(nbd) && nbd_aio_opt_abort(nbd) == 0)
		settle(probe, nbd, deadline_ms, why);
	else if (nbd_aio_is_ready(nbd))
		nbd_aio_disconnect(nbd, 0);
}

/* Returns the size, or -1 with the reason in @why. */
static int64_t question(const struct probe *probe, char why[WHY_SIZE])
{
	int64_t deadline_ms = now_ms() + PROBE_ANSWER_S * 1000;
	struct nbd_handle *nbd;
	int64_t bytes = -1;

	if (trust_check(probe->config.uri, why))
		return -1;
	snprintf(why, WHY_SIZE, "out of memory");
	nbd = nbd_create();
	if (!nbd)
		return -1;
	nbd_set_uri_allow_local_file(nbd, true);
	nbd_set_opt_mode(nbd, true);
	if (nbd_aio_connect_uri(nbd, probe->config.uri)) {
		libnbd_why(probe->config.uri, why, WHY_SIZE);
	} else if (settle(probe, nbd, deadline_ms, why) == 0 && is_told(probe, nbd, deadline_ms, why)) {
		bytes = nbd_get_size(nbd);
		snprintf(why, WHY_SIZE, "no valid size");
		say_goodbye(probe, nbd, deadline_ms);
	}
	nbd_close(nbd);
	return bytes;
}

/* -- the thread --------------------------------------------------------------------------------------------------- */

static void post_answer(struct probe *probe, uint64_t bytes)
{
	probe->bytes = bytes;
	if (!atomic_exchange(&probe->posted, true))
		loop_post(probe->config.loop, &probe->answer);
}

/* Until it is time to ask, or to stop. */
static void wait(struct probe *probe, int64_t interval_s)
{
	int64_t end_ms = now_ms() + interval_s * 1000, left_ms;

	while (!probe->stop && !atomic_exchange(&probe->ask, false) && (left_ms = end_ms - now_ms()) > 0) {
		struct pollfd wake = { .fd = probe->wake, .events = POLLIN };

		if (poll(&wake, 1, (int)left_ms) > 0)
			empty(probe->wake);
	}
}

static void *run(void *arg)
{
	struct probe *probe = arg;
	int64_t interval_s = PROBE_INTERVAL_S;
	char why[WHY_SIZE];

	for (wait(probe, interval_s); !probe->stop; wait(probe, interval_s)) {
		int64_t bytes = question(probe, why);

		if (bytes >= 0) {
			interval_s = PROBE_INTERVAL_S;
			post_answer(probe, (uint64_t)bytes);
		} else {
			interval_s =
				interval_s * 2 < PROBE_INTERVAL_MAX_S ? interval_s * 2 : PROBE_INTERVAL_MAX_S;
			log_debug("%s: asked for the size: %s", probe->config.name, why);
		}
	}
	return NULL;
}

static void read_answer(struct mail *mail)
{
	struct probe *probe = container_of(mail, struct probe, answer);

	probe->posted = false;
	if (!probe->over)
		probe->config.sized(probe->config.arg, probe->bytes);
}

/* -- life --------------------------------------------------------------------------------------------------------- */

int probe_new(const struct probe_config *config, struct probe **out)
{
	struct probe *probe = calloc(1, sizeof(*probe));
	int error;

	if (!probe)
		return -ENOMEM;
	probe->config = *config;
	probe->answer.read = read_answer;
	probe->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = probe->wake < 0 ? -errno : thread_start(&probe->thread, run, probe);
	if (error) {
		if (probe->wake >= 0)
			close(probe->wake);
		free(probe);
		return error;
	}
	*out = probe;
	return 0;
}

static void wake(struct probe *probe)
{
	uint64_t one = 1;

	if (write(probe->wake, &one, sizeof(one)) < 0)
		log_debug("%s: the probe is awake: %s", probe->config.name, strerror(errno));
}

void probe_ask(struct probe *probe)
{
	probe->ask = true;
	wake(probe);
}

/* Behind the last answer that is in the mailbox. */
static void read_end(struct mail *mail)
{
	free(container_of(mail, struct probe, end));
}

void probe_free(struct probe *probe)
{
	if (!probe)
		return;
	probe->over = true;
	probe->stop = true;
	wake(probe);
	pthread_join(probe->thread, NULL);
	close(probe->wake);
	probe->end.read = read_end;
	loop_post(probe->config.loop, &probe->end);
}
