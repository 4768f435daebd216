/* cache/flush.c -- one fdatasync at a time, for all who asked before it started.
 *
 * F1  At most one sync is starting or running, exactly while busy; the requests it answers were all submitted before
 *     it started.
 * F2  The first request of a batch leads: the sync runs on its ring. It waits for the end of that ring's turn, so that
 *     every flush of the turn shares it.
 * F3  failed is set before any request of the failed sync completes, and with it the requests that waited fail too.
 */
#include "cache/flush.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cache/block_finish.h"
#include "cache/disk.h"
#include "conf/container.h"
#include "conf/log.h"

static void on_start(struct uring_task *task);
static void on_synced(struct uring_op *op, int result, unsigned flags);
static void on_invited(struct mail *mail);

void flush_init(struct flush *flush, int fd, const char *path)
{
	*flush = (struct flush){
		.fd = fd,
		.path = path,
		.start.run = on_start,
		.sync.done = on_synced,
		.invite.read = on_invited,
		.stable_run = FLUSH_LIGHT_RUN,
	};
	flush->last_waiting = &flush->waiting;
	pthread_mutex_init(&flush->lock, NULL);
}

void flush_fini(struct flush *flush)
{
	assert(!flush_is_busy(flush) && !flush->waiting);
	pthread_mutex_destroy(&flush->lock);
}

static void set_busy(struct flush *flush, bool busy)
{
	atomic_store_explicit(&flush->busy, busy, memory_order_relaxed);
}

static struct block_req *take_waiting(struct flush *flush)
{
	struct block_req *taken = flush->waiting;

	flush->waiting = NULL;
	flush->last_waiting = &flush->waiting;
	return taken;
}

int flush_submit(struct flush *flush, struct block_req *req)
{
	bool failed, leads = false;

	pthread_mutex_lock(&flush->lock);
	flush->counts.asked++;
	failed = flush->failed;
	if (!failed) {
		req->wait.next = NULL;
		*flush->last_waiting = req;
		flush->last_waiting = &req->wait.next;
		leads = !flush_is_busy(flush);
		set_busy(flush, true);
	}
	pthread_mutex_unlock(&flush->lock);
	if (failed)
		return -EIO;
	if (leads) {
		flush->ring = req->ring;
		uring_defer(flush->ring, &flush->start);
	}
	return DISK_PENDING;
}

static void on_invited(struct mail *mail)
{
	struct flush *flush = container_of(mail, struct flush, invite);

	uring_defer(flush->ring, &flush->start);
}

static void on_start(struct uring_task *task)
{
	struct flush *flush = container_of(task, struct flush, start);
	struct io_uring_sqe *sqe = uring_sqe(flush->ring, &flush->sync);

	pthread_mutex_lock(&flush->lock);
	flush->served = take_waiting(flush); /* F1: nobody can join from here on */
	pthread_mutex_unlock(&flush->lock);
	atomic_store_explicit(&flush->stable_run, FLUSH_LIGHT_RUN, memory_order_relaxed);
	io_uring_prep_fsync(sqe, flush->fd, IORING_FSYNC_DATASYNC);
}

/* Whom the next sync would answer starts it: the turn goes to the first of them. */
static void pass_turn(struct flush *flush, struct uring *to)
{
	const struct uring *here = flush->ring;

	flush->ring = to;
	if (to == here)
		uring_defer(to, &flush->start);
	else
		uring_post(to, &flush->invite);
}

static void tell_failure(const struct flush *flush, int error)
{
	log_error(
		"%s: fdatasync: %s; acknowledged writes may be lost, every flush fails from now on until the "
		"export is opened again",
		flush->path, strerror(error));
}

static void on_synced(struct uring_op *op, int result, unsigned flags)
{
	struct flush *flush = container_of(op, struct flush, sync);
	struct block_req *served = flush->served, *too_late = NULL;
	const struct uring *here = flush->ring;
	struct uring *next = NULL;

	(void)flags;
	pthread_mutex_lock(&flush->lock);
	flush->counts.done++;
	if (result < 0) {
		flush->failed = true; /* F3 */
		too_late = take_waiting(flush);
	} else if (flush->waiting) {
		next = flush->waiting->ring;
	}
	set_busy(flush, next);
	pthread_mutex_unlock(&flush->lock);
	if (result < 0)
		tell_failure(flush, -result);
	if (next)
		pass_turn(flush, next);
	block_finish_all(served, here, result < 0 ? -EIO : 0);
	block_finish_all(too_late, here, -EIO);
}

int flush_now(struct flush *flush)
{
	assert(!flush_is_busy(flush));
	if (!flush->failed && fdatasync(flush->fd) < 0) {
		flush->failed = true;
		tell_failure(flush, errno);
	}
	return flush->failed ? -EIO : 0;
}

bool flush_has_failed(struct flush *flush)
{
	bool failed;

	pthread_mutex_lock(&flush->lock);
	failed = flush->failed;
	pthread_mutex_unlock(&flush->lock);
	return failed;
}

struct flush_counts flush_count(struct flush *flush)
{
	struct flush_counts counts;

	pthread_mutex_lock(&flush->lock);
	counts = flush->counts;
	pthread_mutex_unlock(&flush->lock);
	return counts;
}
