/* conf/loop.h -- one libev loop on one thread, with a mailbox.
 *
 * For threads that wait for file descriptors, timers and signals: the main threads, and the client's queue threads.
 * (The server's workers wait in their io_uring instead: cache/uring.h.)
 */
#pragma once

#include <ev.h>
#include <stdbool.h>

#include "conf/mailbox.h"

struct loop {
	struct ev_loop *ev; /* owned */
	struct mailbox mailbox;
	ev_io on_mail;
	pthread_t owner; /* written by loop_run() before its first callback */
};

/* loop_init() - @is_main: use libev's default loop, the one that may watch signals.
 * Loops wait in poll(2), which costs nothing more for the handful of descriptors each has: one that is no longer watched
 * may be given to another thread or closed there, while libev leaves it in an epoll until it is closed.
 * Returns 0, -ENOMEM where libev finds no backend, or -errno of eventfd(2). */
int loop_init(struct loop *loop, bool is_main);
void loop_fini(struct loop *loop);

/* Runs callbacks on this thread until loop_stop(). */
void loop_run(struct loop *loop);

/* Makes loop_run() return after the callback that calls this; only on the loop's own thread. */
void loop_stop(struct loop *loop);

/* Any thread: @mail->read runs on the loop's thread. See conf/mailbox.h. */
void loop_post(struct loop *loop, struct mail *mail);

/* Opens every callback of an object that belongs to @loop. */
void loop_assert_mine(const struct loop *loop);
