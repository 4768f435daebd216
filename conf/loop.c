/* conf/loop.c -- libev above an epoll of our own, which it watches while it is in charge.
 *
 * P1  Turns run before each wait, whoever waits.
 * P2  loop->quick only while libev has no watcher but ours: while they are not counted ev_run() returns by itself when
 *     that is so, and who starts one says so before.
 * P3  pending has no source that is not watched any more.
 */
#include "conf/loop.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "conf/container.h"

/* -- sources ------------------------------------------------------------------------------------------------------ */

static int events_of(uint32_t epoll)
{
	return (epoll & (EPOLLIN | EPOLLERR | EPOLLHUP) ? EV_READ : 0) |
	       (epoll & (EPOLLOUT | EPOLLERR | EPOLLHUP) ? EV_WRITE : 0);
}

static uint32_t epoll_of(int events)
{
	return (events & EV_READ ? EPOLLIN : 0u) | (events & EV_WRITE ? EPOLLOUT : 0u);
}

int loop_watch(struct loop *loop, struct loop_source *source, int fd, int events, bool edge)
{
	struct epoll_event event = { .events = epoll_of(events) | (edge ? EPOLLET : 0u), .data.ptr = source };
	bool is_new = source->fd != fd;

	if (is_new)
		loop_unwatch(loop, source);
	if (epoll_ctl(loop->epoll, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event))
		return -errno;
	source->fd = fd;
	source->events = events;
	return 0;
}

void loop_unwatch(struct loop *loop, struct loop_source *source)
{
	if (source->fd < 0)
		return;
	epoll_ctl(loop->epoll, EPOLL_CTL_DEL, source->fd, NULL);
	source->fd = -1;
	for (unsigned i = 0; i < LOOP_EVENTS_MAX; i++)
		if (loop->pending[i] == source)
			loop->pending[i] = NULL; /* P3 */
}

static void wait_for_sources(struct loop *loop, int timeout_ms)
{
	struct epoll_event events[LOOP_EVENTS_MAX];
	int count = epoll_wait(loop->epoll, events, LOOP_EVENTS_MAX, timeout_ms);

	for (int i = 0; i < count; i++)
		loop->pending[i] = events[i].data.ptr;
	for (int i = 0; i < count; i++) {
		struct loop_source *source = loop->pending[i];

		loop->pending[i] = NULL;
		if (source)
			source->ready(source, events_of(events[i].events));
	}
}

/* -- turns -------------------------------------------------------------------------------------------------------- */

static void insert(struct loop_turn *turn, struct loop_turn **at)
{
	turn->next = *at;
	turn->link = at;
	if (turn->next)
		turn->next->link = &turn->next;
	*at = turn;
}

void loop_add_turn(struct loop *loop, struct loop_turn *turn, bool first)
{
	struct loop_turn **at = &loop->turns;

	while (!first && *at)
		at = &(*at)->next;
	insert(turn, at);
}

void loop_remove_turn(struct loop *loop, struct loop_turn *turn)
{
	if (!turn->link)
		return;
	if (loop->next_turn == turn)
		loop->next_turn = turn->next;
	*turn->link = turn->next;
	if (turn->next)
		turn->next->link = turn->link;
	turn->link = NULL;
}

static void run_turns(struct loop *loop)
{
	struct loop_turn *turn;

	for (loop->next_turn = loop->turns; (turn = loop->next_turn);) {
		loop->next_turn = turn->next;
		turn->run(turn);
	}
}

/* -- libev -------------------------------------------------------------------------------------------------------- */

static void on_epoll(struct ev_loop *ev, ev_io *watcher, int revents)
{
	(void)ev;
	(void)revents;
	wait_for_sources(watcher->data, 0);
}

static void on_awake(struct ev_loop *ev, ev_idle *watcher, int revents)
{
	/* Its being active is all it is for. */
	(void)ev;
	(void)watcher;
	(void)revents;
}

/* Whether it may sleep. */
static void tell_libev(struct loop *loop)
{
	bool told = ev_is_active(&loop->on_awake);

	if (loop->awake && !told) {
		ev_idle_start(loop->ev, &loop->on_awake);
		ev_unref(loop->ev); /* P2 */
	} else if (!loop->awake && told) {
		ev_ref(loop->ev);
		ev_idle_stop(loop->ev, &loop->on_awake);
	}
}

void loop_stay_awake(struct loop *loop)
{
	loop->awake++;
	if (!loop->quick)
		tell_libev(loop);
}

void loop_may_sleep(struct loop *loop)
{
	assert(loop->awake);
	loop->awake--;
	if (!loop->quick)
		tell_libev(loop);
}

static void on_turn(struct ev_loop *ev, ev_prepare *watcher, int revents)
{
	struct loop *loop = watcher->data;

	(void)ev;
	(void)revents;
	run_turns(loop);
	tell_libev(loop);
}

static void start_watchers(struct loop *loop)
{
	ev_io_init(&loop->on_epoll, on_epoll, loop->epoll, EV_READ);
	ev_prepare_init(&loop->on_turn, on_turn);
	ev_set_priority(&loop->on_turn, EV_MAXPRI);
	ev_idle_init(&loop->on_awake, on_awake);
	loop->on_epoll.data = loop->on_turn.data = loop;
	ev_io_start(loop->ev, &loop->on_epoll);
	ev_prepare_start(loop->ev, &loop->on_turn);
	ev_unref(loop->ev); /* P2 */
}

static void stop_watchers(struct loop *loop)
{
	ev_io_stop(loop->ev, &loop->on_epoll);
	ev_ref(loop->ev);
	ev_prepare_stop(loop->ev, &loop->on_turn);
	loop->awake = 0;
	tell_libev(loop);
}

void loop_use_ev(struct loop *loop)
{
	if (!loop->quick)
		return;
	loop->quick = false;
	ev_now_update(loop->ev);
}

ev_tstamp loop_now(struct loop *loop)
{
	if (loop->quick)
		ev_now_update(loop->ev);
	return ev_now(loop->ev);
}

/* -- life --------------------------------------------------------------------------------------------------------- */

static void on_mail(struct loop_source *source, int revents)
{
	(void)revents;
	mailbox_drain(&container_of(source, struct loop, on_mail)->mailbox);
}

static int epoll_init(struct loop *loop)
{
	int error;

	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll < 0)
		return -errno;
	loop->on_mail = (struct loop_source){ .ready = on_mail, .fd = -1 };
	error = loop_watch(loop, &loop->on_mail, loop->mailbox.fd, EV_READ, false);
	if (error)
		close(loop->epoll);
	return error;
}

int loop_init(struct loop *loop, bool is_main)
{
	int error;

	*loop = (struct loop){ .owner = pthread_self() };
	error = mailbox_init(&loop->mailbox);
	if (error)
		return error;
	error = epoll_init(loop);
	if (error)
		goto fini_mailbox;
	error = -ENOMEM;
	loop->ev = is_main ? ev_default_loop(EVBACKEND_POLL) : ev_loop_new(EVBACKEND_POLL);
	if (!loop->ev)
		goto close_epoll;
	start_watchers(loop);
	return 0;

close_epoll:
	close(loop->epoll);
fini_mailbox:
	mailbox_fini(&loop->mailbox);
	return error;
}

void loop_fini(struct loop *loop)
{
	stop_watchers(loop);
	ev_loop_destroy(loop->ev);
	close(loop->epoll);
	mailbox_fini(&loop->mailbox);
}

void loop_run(struct loop *loop)
{
	loop->owner = pthread_self();
	ev_run(loop->ev, 0);
}

static void go_past_libev(struct loop *loop)
{
	loop->quick = true;
	while (loop->quick && !loop->stopped) {
		run_turns(loop); /* P1 */
		if (loop->quick && !loop->stopped)
			wait_for_sources(loop, loop->awake ? 0 : -1);
	}
	loop->quick = false;
}

void loop_run_quickly(struct loop *loop)
{
	loop->owner = pthread_self();
	loop->stopped = false;
	ev_unref(loop->ev); /* P2: on_epoll */
	while (!loop->stopped) {
		ev_run(loop->ev, 0);
		if (!loop->stopped)
			go_past_libev(loop);
	}
	ev_ref(loop->ev);
}

void loop_stop(struct loop *loop)
{
	loop_assert_mine(loop);
	loop->stopped = true;
	ev_break(loop->ev, EVBREAK_ALL);
}

void loop_post(struct loop *loop, struct mail *mail)
{
	mailbox_post(&loop->mailbox, mail);
}

void loop_assert_mine(const struct loop *loop)
{
	assert(pthread_equal(loop->owner, pthread_self()));
}
