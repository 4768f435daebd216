/* conf/loop.c -- a libev loop and the mailbox it watches. */
#include "conf/loop.h"

#include <assert.h>
#include <errno.h>

static void on_mail(struct ev_loop *ev, ev_io *watcher, int revents)
{
	struct loop *loop = watcher->data;

	(void)ev;
	(void)revents;
	mailbox_drain(&loop->mailbox);
}

int loop_init(struct loop *loop, bool is_main)
{
	int error = mailbox_init(&loop->mailbox);

	if (error)
		return error;
	loop->ev = is_main ? ev_default_loop(EVBACKEND_POLL) : ev_loop_new(EVBACKEND_POLL);
	if (!loop->ev) {
		mailbox_fini(&loop->mailbox);
		return -ENOMEM;
	}
	loop->owner = pthread_self();
	ev_io_init(&loop->on_mail, on_mail, loop->mailbox.fd, EV_READ);
	loop->on_mail.data = loop;
	ev_io_start(loop->ev, &loop->on_mail);
	return 0;
}

void loop_fini(struct loop *loop)
{
	ev_io_stop(loop->ev, &loop->on_mail);
	ev_loop_destroy(loop->ev);
	mailbox_fini(&loop->mailbox);
}

void loop_run(struct loop *loop)
{
	loop->owner = pthread_self();
	ev_run(loop->ev, 0);
}

void loop_stop(struct loop *loop)
{
	loop_assert_mine(loop);
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
