/* server/losses.h -- the connections of an export that has lost writes to a failed sync end: their clients have to hear of its
 * new verifier. On the main thread.
 */
#pragma once

#include "conf/loop.h"
#include "server/export.h"
#include "server/handshake.h"
#include "server/worker.h"

struct losses {
	struct loop *loop;	       /* borrowed: the main thread's */
	struct handshakes *handshakes; /* borrowed: as the workers, the server's, which ends us after them */
	struct worker *workers;
	unsigned worker_count;
	struct loss *first; /* owned: under way */
};

/* The workers are told by losses_serve(), when they run. */
void losses_init(struct losses *losses, struct loop *loop, struct handshakes *handshakes);
void losses_serve(struct losses *losses, struct worker *workers, unsigned count);

/* When the workers have ended, before the exports are closed. */
void losses_fini(struct losses *losses);

/* losses_found() - @export is one that has just been found to have lost writes, and a reference to it, which is taken over. */
void losses_found(struct losses *losses, struct export *export);
