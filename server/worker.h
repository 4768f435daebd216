/* server/worker.h -- a thread that serves sessions: one io_uring, and the memory its sessions draw from. */
#pragma once

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "cache/uring.h"
#include "conf/mailbox.h"
#include "server/budget.h"
#include "server/buffer.h"
#include "server/limits.h"
#include "server/receive_pool.h"
#include "server/request.h"

struct notice;
struct session;

struct worker {
	struct uring ring;
	struct buffer_pool buffers;
	struct request_pool requests;
	struct receive_pool receives;
	struct budget *budget;	  /* borrowed: outlives its workers */
	struct session *sessions; /* owned: the first of a list */
	/* Who takes turns: the last session that began requests, and for how many turns it is not alone. */
	const struct session *last; /* only to be compared */
	unsigned shared;
	uint64_t large_turn; /* the ring's turn in which the last large request began, */
	size_t large_bytes;  /* and the data of all that did */
	bool retiring;	     /* and, if draining, no session takes more requests */
	bool draining;
	bool ticking; /* one of the sessions has a deadline */
	struct uring_op on_tick;
	struct __kernel_timespec tick;
	atomic_uint load; /* shared: sessions; whoever hands one over adds, this thread subtracts */
	struct mail retire, drain, kill, look;
	atomic_bool looking;	/* shared: whether look is on its way */
	struct notice *notices; /* borrowed: read, and not obeyed yet */
	struct mail ended;	/* what the owner gave, posted to @owner */
	struct mailbox *owner;
	pthread_t thread;
	/* While it starts. */
	sem_t started;
	int start_error;
};

/* worker_prepare() - all but ring, pools and thread: for who brings his own. */
void worker_prepare(struct worker *worker, struct budget *budget);

/* worker_start() - a new thread; @ended is posted to @owner as the last thing it does.
 * Returns 0, or -errno of what the thread or its ring lacks. */
int worker_start(struct worker *worker, struct budget *budget, struct mailbox *owner,
	void (*ended)(struct mail *mail));

/* After ended was read. */
void worker_join(struct worker *worker);

/* Any thread: end when no session is left, and none that was handed over before. */
void worker_retire(struct worker *worker);

/* Any thread: let every session finish, and end when none is left. */
void worker_drain(struct worker *worker);

/* Any thread, after worker_drain(): its sessions end now. */
void worker_kill(struct worker *worker);

/* Any thread: end all sessions that an expulsion means, and tell when they are gone (server/expulsion.h). */
void worker_expel(struct worker *worker, struct notice *notice);

/* The owner's thread: fault rules have gone, or have released what they held. */
void worker_look(struct worker *worker);

/* For sessions, on the worker's thread: one more, already counted in load, and one less. */
void worker_gain(struct worker *worker, struct session *session);
void worker_lose(struct worker *worker);

/* For sessions, on the worker's thread: @session begins requests in this turn. */
static inline void worker_count_turn(struct worker *worker, const struct session *session)
{
	if (worker->last != session)
		worker->shared = TURNS_SHARED;
	else if (worker->shared > 0)
		worker->shared--;
	worker->last = session;
}

/* For sessions, on the worker's thread: whether a large request, of @bytes of data, may begin in this turn; and that it does. */
static inline bool worker_has_turn(const struct worker *worker, size_t bytes)
{
	return worker->large_turn != worker->ring.turns ||
	       worker->large_bytes + bytes <= TURN_LARGE_BYTES_MAX;
}

static inline void worker_count_large(struct worker *worker, size_t bytes)
{
	worker->large_bytes = bytes + (worker->large_turn == worker->ring.turns ? worker->large_bytes : 0);
	worker->large_turn = worker->ring.turns;
}

/* For sessions, on the worker's thread: call every session_tick() in TICK_MS, and again while one of them returns true. */
void worker_watch(struct worker *worker);
