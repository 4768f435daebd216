/* cache/flush.h -- group commit: flushes that wait share one fdatasync.
 *
 * A flush promises that every write completed before its submission is stable, whichever thread made that write. So a
 * flush may share only a sync that starts after its submission: one that arrives while a sync runs joins the next.
 *
 * A failed fdatasync is never followed by a successful one: the kernel reports the loss once and has dropped the
 * pages. After it, every flush fails with -EIO until the file is opened again.
 *
 * The descriptor must belong to an open file description of its own that is used for nothing that reports writeback
 * errors: the kernel reports each error once to each description, and a failed RWF_DSYNC write on this one would
 * swallow what a later flush must tell.
 *
 * Any thread that has a ring may submit.
 */
#pragma once

#include <stdatomic.h>

#include "cache/block.h"

struct flush_counts {
	uint64_t asked; /* flushes */
	uint64_t done;	/* fdatasyncs for them */
};

struct flush {
	int fd;		  /* borrowed: the file's, which closes it after us */
	const char *path; /* borrowed: as fd; for the log */
	pthread_mutex_t lock;
	struct block_req *waiting, **last_waiting; /* shared: under lock; served by the next sync */
	bool failed;				   /* shared: under lock; final */
	struct flush_counts counts;		   /* shared: under lock */
	/* Shared: written under lock; a sync runs, or will start without being asked again. */
	atomic_bool busy;
	/* Shared: a hint: how many writes in a row were to be stable at once, up to FLUSH_LIGHT_RUN. */
	atomic_uint stable_run;

	/* The sync that is about to start or runs: its leader's thread alone touches these, handed on by @invite. */
	struct uring *ring;	  /* borrowed: the leader's, which lives while its request is in flight */
	struct block_req *served; /* the requests it answers */
	struct uring_task start;
	struct uring_op sync;
	struct mail invite; /* brings the next turn to its leader's thread */
};

void flush_init(struct flush *flush, int fd, const char *path);
void flush_fini(struct flush *flush);

/* flush_submit() - complete @req once every write that completed before this call is stable; as disk_submit().
 * @req->op is not looked at: a zero or trim with FUA ends with this too. Uses @req->wait.
 * Returns DISK_PENDING, then done() gets 0 or -EIO; or -EIO: a sync has failed before. */
int flush_submit(struct flush *flush, struct block_req *req);

/* flush_now() - the same without a ring, for a moment at which no request is in flight. Returns 0 or -EIO. */
int flush_now(struct flush *flush);

/* After so many writes in a row that were to be stable at once, a sync for several of them may as well write, once, what
 * others left behind before. */
#define FLUSH_LIGHT_RUN 64

/* A write that need not be stable yet begins: the next sync will have to write its data, too.
 * A relaxed load where nothing changes: many threads write. */
static inline void flush_note_write(struct flush *flush)
{
	if (atomic_load_explicit(&flush->stable_run, memory_order_relaxed) > 0)
		atomic_store_explicit(&flush->stable_run, 0, memory_order_relaxed);
}

/* A write that is to be stable at once begins. Returns whether a sync would have little to write beside such: a hint. */
static inline bool flush_note_stable(struct flush *flush)
{
	if (atomic_load_explicit(&flush->stable_run, memory_order_relaxed) >= FLUSH_LIGHT_RUN)
		return true;
	atomic_fetch_add_explicit(&flush->stable_run, 1, memory_order_relaxed);
	return false;
}

/* Whether a sync runs or waits now: a hint, old when it arrives. */
static inline bool flush_is_busy(const struct flush *flush)
{
	return atomic_load_explicit(&flush->busy, memory_order_relaxed);
}

/* Whether a sync has failed. Any thread. */
bool flush_has_failed(struct flush *flush);

struct flush_counts flush_count(struct flush *flush);
