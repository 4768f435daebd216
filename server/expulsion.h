/* server/expulsion.h -- every connection of one export ends, or those that one follows, on all workers, without further replies.
 * What a fault rule keeps from the disk (a delay, a ghost) never reaches it.
 */
#pragma once

#include <stdbool.h>

#include "conf/mailbox.h"
#include "server/close_reason.h"

struct export;
struct lineage;
struct session;
struct worker;

/* What one worker has to do of it. */
struct notice {
	struct notice *next;   /* in the worker's list, once it is read */
	struct worker *worker; /* borrowed: outlives the expulsion */
	struct expulsion *expulsion;
	struct mail mail;
	struct mail obeyed; /* none of the export's sessions is left there */
};

struct expulsion {
	const struct export *export; /* borrowed: outlives us, because its owner says so */
	const struct lineage *heir;  /* borrowed, likewise: only those that it follows end; NULL: all do */
	enum close_reason reason;
	struct mailbox *owner; /* borrowed: of the thread that started it */
	void (*done)(struct expulsion *expulsion);
	unsigned left;
	struct notice *notices; /* owned: one for each worker */
};

/* expulsion_start() - end them all. New sessions have to be kept away by the caller.
 * @expulsion: export, heir, reason, owner and done are set; the caller's, until done() runs on its thread, which is when none of the
 * sessions that had been handed over before has a request on the disk any more, or is to be seen at all.
 * Returns 0 or -ENOMEM. */
int expulsion_start(struct expulsion *expulsion, struct worker *workers, unsigned count);

/* expulsion_means() - whether @session, of the worker's thread that asks, is one of them. */
bool expulsion_means(const struct expulsion *expulsion, const struct session *session);

/* To be called after done(), or when the workers have ended. */
void expulsion_fini(struct expulsion *expulsion);
