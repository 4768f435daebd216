/* cache/overlay_commit.h -- makes an overlay's blocks durable: their data first, then the map that tells of them.
 *
 * A power cut may come between any two operations, and keep or lose each that no sync has covered. So a commit syncs the
 * data, writes the pages of the durable map that have changed, and syncs those; blocks that came after its beginning are
 * left to the next. Requests that wait share one commit, as in cache/flush.h; where no block is new, a flush is the file's
 * own.
 *
 * Any thread that has a ring may submit.
 */
#pragma once

#include "cache/disk.h"
#include "cache/overlay_map.h"

enum overlay_commit_stage { COMMIT_DATA, COMMIT_MAP, COMMIT_SYNC, COMMIT_OVER };

struct overlay_commit {
	struct disk *store;	 /* borrowed: the overlay's file, as the map; their owner frees us first */
	struct overlay_map *map; /* borrowed */
	uint64_t durable_at;	 /* bytes: where the file has its durable map */
	pthread_mutex_t lock;
	struct block_req *waiting, **last_waiting; /* shared: under lock; served by the next commit */
	bool busy; /* shared: under lock; one runs, or will without being asked */

	/* The one that is about to start or runs: its leader's thread alone touches these, handed on by invite. */
	struct uring *ring;	  /* borrowed: the leader's, which lives while its request is in flight */
	struct block_req *served; /* the requests it answers */
	enum overlay_commit_stage stage;
	bool has_pages;
	uint64_t page; /* of the durable map: what is before it is written */
	struct uring_task start;
	struct mail invite;
	struct block_req inner;
	struct iovec iov;
};

void overlay_commit_init(
	struct overlay_commit *commit, struct disk *store, struct overlay_map *map, uint64_t durable_at);
void overlay_commit_fini(struct overlay_commit *commit);

/* overlay_commit_submit() - complete @req, whatever it is, once every block and every write that completed before this
 * call is stable; as disk_submit(). Uses @req->wait. */
int overlay_commit_submit(struct overlay_commit *commit, struct block_req *req);
