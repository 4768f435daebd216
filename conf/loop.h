/* conf/loop.h -- one loop on one thread, with a mailbox: libev for what happens now and then, epoll(7) for the rest.
 *
 * For threads that wait for file descriptors, timers and signals: the main threads, and the client's queue threads.
 * (The server's workers wait in their io_uring instead: cache/uring.h.)
 *
 * Timers, signals and descriptors of libraries are libev's: start watchers on loop->ev. Where a system call more or less
 * counts, a descriptor is a source and work that follows it a turn: see loop_run_quickly().
 */
#pragma once

#include <ev.h>
#include <stdbool.h>

#include "conf/mailbox.h"

/* Events taken from the kernel at once. */
#define LOOP_EVENTS_MAX 16

/* A descriptor that is watched past libev. */
struct loop_source {
	/* @revents: EV_READ, EV_WRITE; both where it has failed or was hung up. May unwatch and free any source. */
	void (*ready)(struct loop_source *source, int revents);
	int fd; /* borrowed: the caller's; -1: not watched. Once closed, it is only to be unwatched. */
	int events;
};

/* Work that is done before the loop sleeps, each time. */
struct loop_turn {
	void (*run)(struct loop_turn *turn); /* may remove any turn */
	struct loop_turn *next, **link;	     /* the loop's; link: NULL: not added */
};

struct loop {
	struct ev_loop *ev; /* owned */
	struct mailbox mailbox;
	struct loop_source on_mail;
	int epoll; /* owned */
	struct loop_source *pending[LOOP_EVENTS_MAX];
	struct loop_turn *turns, *next_turn;
	unsigned awake; /* those who do not want it to sleep */
	bool quick;	/* past libev, whose clock stands still */
	bool stopped;

	/* While libev waits; turns and being awake are not counted among its watchers. */
	ev_io on_epoll;
	ev_prepare on_turn;
	ev_idle on_awake;

	pthread_t owner; /* written by loop_run() before its first callback */
};

/* loop_init() - @is_main: use libev's default loop, the one that may watch signals.
 * libev waits in poll(2), which costs nothing more for the handful of descriptors it has: one that is no longer watched
 * may be given to another thread or closed there, while libev would leave it in an epoll until it is closed.
 * Returns 0, -ENOMEM where libev finds no backend, or -errno of eventfd(2) or epoll_create1(2). */
int loop_init(struct loop *loop, bool is_main);
void loop_fini(struct loop *loop);

/* Runs callbacks on this thread until loop_stop(). */
void loop_run(struct loop *loop);

/* loop_run_quickly() - the same, but as long as nobody watches anything through libev, the thread goes past it and waits in
 * epoll_wait(2) alone. Whoever starts a watcher in a callback calls loop_use_ev() before. */
void loop_run_quickly(struct loop *loop);

/* Makes them return after the callback that calls this; only on the loop's own thread. */
void loop_stop(struct loop *loop);

/* Any thread: @mail->read runs on the loop's thread. See conf/mailbox.h. */
void loop_post(struct loop *loop, struct mail *mail);

/* Opens every callback of an object that belongs to @loop. */
void loop_assert_mine(const struct loop *loop);

/* What follows is for the loop's own thread, or for before it runs. */

/* loop_watch() - have source->ready called when @fd is ready for @events: EV_READ, EV_WRITE. Watched already, that changes.
 * @edge: only when it has become so anew: for an eventfd, each time that it is written, though nobody reads it.
 * Returns 0, or -errno of epoll_ctl(2): -EPERM for a file that is always ready. */
int loop_watch(struct loop *loop, struct loop_source *source, int fd, int events, bool edge);
void loop_unwatch(struct loop *loop, struct loop_source *source);

/* loop_add_turn() - from now on; @first: before those that are there, or else behind them. */
void loop_add_turn(struct loop *loop, struct loop_turn *turn, bool first);
void loop_remove_turn(struct loop *loop, struct loop_turn *turn);

/* loop_stay_awake() - until the same number of loop_may_sleep(), the loop only looks for events between its turns. */
void loop_stay_awake(struct loop *loop);
void loop_may_sleep(struct loop *loop);

/* loop_use_ev() - a watcher is about to be started on loop->ev: from now on it is libev that waits, with its clock set,
 * until it has nothing left to watch. */
void loop_use_ev(struct loop *loop);

/* Seconds, of the clock that libev's timers have. */
ev_tstamp loop_now(struct loop *loop);
