/* cache/uring.h -- one io_uring on one thread: a worker's only wait, for disks, sockets, timers and mail.
 *
 * A turn: run what was deferred, submit all that was prepared and wait for a completion in one io_uring_enter(2),
 * handle every completion that is there. So one system call serves a batch, however large.
 *
 * Everything but uring_post() is for the ring's own thread.
 */
#pragma once

#include <liburing.h>
#include <pthread.h>
#include <stdbool.h>

#include "conf/mailbox.h"

/* One operation in flight. done() runs for every completion; a multishot operation goes on while @flags has
 * IORING_CQE_F_MORE. The struct, and every buffer of the operation, stay untouched until its last done(): they are the
 * kernel's, cancelled or not. */
struct uring_op {
	void (*done)(struct uring_op *op, int result, unsigned flags);
};

/* Something to do once at the end of a turn, however often it is asked for meanwhile. */
struct uring_task {
	struct uring_task *next; /* the ring's while queued */
	bool queued;
	void (*run)(struct uring_task *task);
};

/* First in, first out. */
struct uring_tasks {
	struct uring_task *first, **last;
};

struct uring {
	struct io_uring ring;
	struct mailbox mailbox;
	struct uring_op on_mail;
	struct uring_tasks now;	  /* of this turn */
	struct uring_tasks later; /* of the next one */
	struct uring_tasks after; /* of the next submission */
	bool hurried;		  /* no sleep before those have run */
	unsigned begun, burst;	  /* requests: of this turn, and of the last one that had some */
	uint64_t turns;		  /* that have begun */
	pthread_t owner;
	bool stopping;
};

/* Entries prepared between two submissions; more are submitted early, none is refused. */
#define URING_ENTRIES 512

/* Room for completions; more are kept by the kernel until there is room. */
#define URING_CQ_ENTRIES 8192

/* Returns 0, or -errno of io_uring_setup(2): -ENOSYS or -EPERM where the kernel or a sandbox does not allow rings.
 * To be called on the thread that will run it. */
int uring_init(struct uring *uring);
void uring_fini(struct uring *uring);

/* Runs turns until uring_stop(). */
void uring_run(struct uring *uring);

/* Makes uring_run() return at the end of this turn. */
void uring_stop(struct uring *uring);

/* uring_sqe() - the next submission entry, bound to @op; never NULL. Fill it with one io_uring_prep_*() of liburing at
 * once. It is submitted at the end of the turn. */
struct io_uring_sqe *uring_sqe(struct uring *uring, struct uring_op *op);

/* uring_reserve() - make sure that the next @count calls of uring_sqe() go to the kernel in one submission, as linked
 * entries must; @count at most URING_ENTRIES. */
void uring_reserve(struct uring *uring, unsigned count);

/* uring_count_request() - one more request begins in this turn.
 * Returns how many there probably are in it: that many share the system call of its submission. */
static inline unsigned uring_count_request(struct uring *uring)
{
	uring->begun++;
	return uring->begun > uring->burst ? uring->begun : uring->burst;
}

/* @task->run runs once at the end of this turn, before the submission. Asking again while it waits changes nothing. */
void uring_defer(struct uring *uring, struct uring_task *task);

/* uring_yield() - @task, which is not waiting, goes on in the next turn, behind what has come up meanwhile; the ring does
 * not sleep before. */
void uring_yield(struct uring *uring, struct uring_task *task);

/* uring_follow() - @task, which is not waiting, runs when all that was prepared before is the kernel's and the completions
 * that this brought about at once are handled. It is no reason to wake up: the ring may sleep before it runs.
 * uring_hurry() - do not sleep before. */
void uring_follow(struct uring *uring, struct uring_task *task);
void uring_hurry(struct uring *uring);

/* Any thread: @mail->read runs on the ring's thread. */
void uring_post(struct uring *uring, struct mail *mail);

void uring_assert_mine(const struct uring *uring);
