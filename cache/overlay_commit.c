/* cache/overlay_commit.c -- DATA -> MAP, once for each run of changed pages -> SYNC -> OVER.
 *
 * C1  At most one commit is starting or running, exactly while busy; the requests it answers were all submitted before
 *     it took the map.
 * C2  No page of the durable map is written before the sync of the data of all its blocks has succeeded.
 * C3  A commit that fails leaves its pages to the next; the file sees to it that no sync succeeds after one that failed.
 */
#include "cache/overlay_commit.h"

#include <assert.h>

#include "cache/block_finish.h"
#include "conf/container.h"

/* Pages of the map in one write: 1 MiB. */
#define PAGES_MAX 256

static void on_start(struct uring_task *task);
static void on_invited(struct mail *mail);
static void on_inner(struct block_req *inner, int status);

void overlay_commit_init(
	struct overlay_commit *commit, struct disk *store, struct overlay_map *map, uint64_t durable_at)
{
	*commit = (struct overlay_commit){
		.store = store,
		.map = map,
		.durable_at = durable_at,
		.start.run = on_start,
		.invite.read = on_invited,
	};
	commit->last_waiting = &commit->waiting;
	pthread_mutex_init(&commit->lock, NULL);
}

void overlay_commit_fini(struct overlay_commit *commit)
{
	assert(!commit->busy && !commit->waiting);
	pthread_mutex_destroy(&commit->lock);
}

static struct block_req *take_waiting(struct overlay_commit *commit)
{
	struct block_req *taken;

	pthread_mutex_lock(&commit->lock);
	taken = commit->waiting;
	commit->waiting = NULL;
	commit->last_waiting = &commit->waiting;
	pthread_mutex_unlock(&commit->lock);
	return taken;
}

/* Whom the next commit would answer starts it. */
static void pass_turn(struct overlay_commit *commit)
{
	const struct uring *here = commit->ring;
	struct uring *next = NULL;

	pthread_mutex_lock(&commit->lock);
	if (commit->waiting)
		next = commit->waiting->ring;
	commit->busy = next;
	pthread_mutex_unlock(&commit->lock);
	if (!next)
		return;
	commit->ring = next;
	if (next == here)
		uring_defer(next, &commit->start);
	else
		uring_post(next, &commit->invite);
}

static void end(struct overlay_commit *commit, int status)
{
	struct block_req *served = commit->served;
	const struct uring *here = commit->ring;

	overlay_map_end(commit->map, status == 0);
	pass_turn(commit);
	block_finish_all(served, here, status);
}

static int sync_store(struct overlay_commit *commit, enum overlay_commit_stage next)
{
	commit->stage = next;
	commit->inner = (struct block_req){ .op = BLOCK_FLUSH, .done = on_inner, .ring = commit->ring };
	return disk_submit(commit->store, &commit->inner);
}

/* The next changed pages of the durable map; behind the last, the sync. */
static int write_map(struct overlay_commit *commit)
{
	uint64_t end_page;

	if (!overlay_map_next(commit->map, &commit->page, &end_page, PAGES_MAX)) {
		commit->stage = commit->has_pages ? COMMIT_SYNC : COMMIT_OVER;
		return 0;
	}
	commit->iov = (struct iovec){
		.iov_base = commit->map->durable + commit->page * (OVERLAY_BLOCK / sizeof(uint64_t)),
		.iov_len = (end_page - commit->page) * OVERLAY_BLOCK,
	};
	commit->inner = (struct block_req){
		.op = BLOCK_WRITE,
		.offset = commit->durable_at + commit->page * OVERLAY_BLOCK,
		.length = commit->iov.iov_len,
		.iov = &commit->iov,
		.iov_count = 1,
		.done = on_inner,
		.ring = commit->ring,
	};
	commit->page = end_page;
	return disk_submit(commit->store, &commit->inner);
}

static int step(struct overlay_commit *commit)
{
	switch (commit->stage) {
	case COMMIT_DATA:
		return sync_store(commit, COMMIT_MAP);
	case COMMIT_MAP:
		return write_map(commit);
	case COMMIT_SYNC:
	case COMMIT_OVER:
		break;
	}
	return sync_store(commit, COMMIT_OVER);
}

/* Goes on after a step that ended in @status. */
static void go(struct overlay_commit *commit, int status)
{
	while (status == 0 && commit->stage != COMMIT_OVER)
		status = step(commit);
	if (status != DISK_PENDING)
		end(commit, status);
}

static void on_inner(struct block_req *inner, int status)
{
	go(container_of(inner, struct overlay_commit, inner), status);
}

static void on_start(struct uring_task *task)
{
	struct overlay_commit *commit = container_of(task, struct overlay_commit, start);

	commit->served = take_waiting(commit); /* C1: nobody can join from here on */
	commit->has_pages = overlay_map_begin(commit->map);
	commit->page = 0;
	commit->stage = COMMIT_DATA;
	go(commit, 0);
}

static void on_invited(struct mail *mail)
{
	struct overlay_commit *commit = container_of(mail, struct overlay_commit, invite);

	uring_defer(commit->ring, &commit->start);
}

int overlay_commit_submit(struct overlay_commit *commit, struct block_req *req)
{
	bool leads;

	pthread_mutex_lock(&commit->lock);
	req->wait.next = NULL;
	*commit->last_waiting = req;
	commit->last_waiting = &req->wait.next;
	leads = !commit->busy;
	commit->busy = true;
	pthread_mutex_unlock(&commit->lock);
	if (leads) {
		commit->ring = req->ring;
		uring_defer(commit->ring, &commit->start);
	}
	return DISK_PENDING;
}
