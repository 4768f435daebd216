/* server/succession.h -- a connection waits until nothing of those it follows (server/lineage.h) can reach the disk any more. On
 * the main thread.
 *
 * Those are ended, as their client has given them up; what they have on the disk is waited for, and what has not got there never
 * does.
 */
#pragma once

#include "conf/loop.h"
#include "server/export.h"
#include "server/lineage.h"
#include "server/worker.h"

struct succession;

struct successions {
	struct loop *loop;	/* borrowed: the main thread's */
	struct worker *workers; /* borrowed: the server's, which ends us after them */
	unsigned worker_count;
	struct succession *first; /* owned: under way */
	unsigned count;		  /* of them, up to SUCCESSIONS_MAX */
};

/* The workers are told by successions_serve(), when they run. */
void successions_init(struct successions *successions, struct loop *loop);
void successions_serve(struct successions *successions, struct worker *workers, unsigned count);

/* When the workers have ended. */
void successions_fini(struct successions *successions);

/* succession_start() - end the sessions of @export that @heir's connection follows.
 * @export: only to be compared. @done: runs once, later, on the main loop, when they are gone, unless the heir is forgotten.
 * Returns NULL: out of memory, or too many are under way. */
struct succession *succession_start(struct successions *successions, const struct export *export,
	const struct lineage *heir, void (*done)(void *context), void *context);

/* succession_forget() - nobody waits any more: done() does not run. Before it did. */
void succession_forget(struct succession *succession);
