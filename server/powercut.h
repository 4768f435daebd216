/* server/powercut.h -- an export loses power: its connections end without replies, what its volatile cache holds is lost as
 * drawn, and it comes back with another write verifier.
 *
 * Everything here happens on the main thread, but for what it waits for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cache/survival.h"
#include "conf/loop.h"
#include "server/export.h"
#include "server/handshake.h"
#include "server/worker.h"

/* Seconds without power, at most: a day. */
#define POWERCUT_DOWN_MOST_S 86400

struct powercuts {
	struct loop *loop;	       /* borrowed: the main thread's */
	struct handshakes *handshakes; /* borrowed: as all below: the server's, which ends us after them */
	struct worker *workers;
	unsigned worker_count;
	struct powercut *first; /* owned: under way, or down */
};

struct powercut_order {
	struct survival_order survival;
	double down_s; /* 0: back at once */
};

struct powercut_result {
	int error; /* 0; -errno of volatile_cut(); -ESHUTDOWN: the server ended before it */
	struct survival_counts counts;
	uint64_t verifier; /* the new one */
};

/* The workers are told by powercuts_serve(), when they run. */
void powercuts_init(struct powercuts *powercuts, struct loop *loop, struct handshakes *handshakes);
void powercuts_serve(struct powercuts *powercuts, struct worker *workers, unsigned count);

/* When the workers have ended and the exports are closed. Who waits for what is still under way is told -ESHUTDOWN. */
void powercuts_fini(struct powercuts *powercuts);

/* powercut_start() - cut the power of @export.
 * @done: runs once, later: when what survived is on the disk; @order's down_s begin then, and without any the export is back
 * already.
 * Returns 0; or -errno with the reason in @why: -EBUSY: it has no power now; -EINVAL: it has no volatile cache; -ENOMEM. */
int powercut_start(struct powercuts *powercuts, struct export *export, const struct powercut_order *order,
	void (*done)(void *context, const struct powercut_result *result), void *context, char *why,
	size_t why_size);
