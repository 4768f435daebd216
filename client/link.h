/* client/link.h -- one NBD session as a disk, on one loop: it dials, it is lost, it dials again; no request notices.
 *
 * A lost connection is not an I/O error. Requests in flight are kept in order and sent again on the next connection,
 * from their first byte; new ones wait. A server that knows vnbd-namespace.md carries out nothing of the lost connection after
 * that. Only what the server answers ends a request. So a request may take as long as
 * the server stays away, and done() of a write never runs for a connection that died under it. Who cannot wait may
 * recall it (disk_recall()): it comes back at once where there is no connection or it is not on one yet, else when it
 * is answered or its connection is lost.
 *
 * States: client/link_state.h. Everything here is for the loop's own thread, or for before it runs.
 * Dialling resolves the host's name with getaddrinfo(3), which may hold up the loop; the rest never blocks.
 */
#pragma once

#include <stdbool.h>

#include "cache/disk.h"
#include "client/offer.h"
#include "conf/loop.h"

/* Commands on one connection at a time: more requests wait. Enough for a full queue of 512 that no server minds. */
#define LINK_COMMANDS_MAX 512u

/* Connect, TLS and handshake together; a server that is busy for longer is as good as away. */
#define LINK_DIAL_MS 10000u

/* Between a failed dial and the next, doubling from the first to the last. The first dial after a loss is made at once, but
 * not sooner than the first of these after the one before: a server may end each connection as soon as it was used.
 * A guest waits: often enough that it resumes as soon as the server is back. */
#define LINK_BACKOFF_MIN_MS 50u
#define LINK_BACKOFF_MAX_MS 2000u

/* A peer that is silent to TCP for so long, with data on its way to it or, when idle, to keepalive probes, is dead: the
 * connection is lost. Generous: it outlasts a switch that reboots its line card, and most guests' own timeout of 30 s
 * only makes them wait on. A server that lives but takes its time for a request is never given up. */
#define LINK_SILENCE_MS 20000u

/* What is in flight when a connection is to be renewed has so long to end, or else the connection is kept for now: new
 * requests wait meanwhile. */
#define LINK_DRAIN_MS 1000u

struct link;

/* Who wants to know how the first dial went. */
struct link_watch {
	/* @why: NULL: connected, link_offer() is known; else why not, and the link goes on trying. Runs for every dial
	 * until the first that succeeds; runs on the loop. */
	void (*dialled)(struct link_watch *watch, struct link *link, const char *why);
};

/* Who wants to know the export's size as each connection is told it: the server may have changed it in between. */
struct link_sizes {
	void (*sized)(struct link_sizes *sizes, uint64_t bytes); /* runs on the loop, before any request */
};

struct link_config {
	struct loop *loop;	  /* borrowed: outlives the link */
	const char *uri;	  /* borrowed: outlives the link; whatever libnbd takes */
	const char *name;	  /* copied: for the log; without secrets */
	const char *session;	  /* copied: session_name_text() of this connection; NULL: none */
	bool readonly;		  /* never change the export, even if the server would let us */
	struct link_watch *watch; /* borrowed: outlives the link; NULL: nobody */
	struct link_sizes *sizes; /* borrowed: outlives the link; NULL: nobody */
	/* What is done and not yet flushed is kept, in so much memory (client/replay.h), and sent again where the server may have
	 * lost it; 0: not. Only for a disk that has no other link. */
	size_t replay_bytes;
	/* copied: what the guest has been promised, every connection has to keep it; NULL: what the first one offers
	 * is promised. */
	const struct disk_facts *promised;
};

/* link_new() - a link that begins to dial when its loop runs.
 * Returns 0 and the link, the caller's until link_free(), or -ENOMEM. */
int link_new(const struct link_config *config, struct link **out);

/* link_free() - says goodbye to the server if nothing is in flight. Requests that it holds are forgotten: their done()
 * never runs. The loop must not be running, or this is its thread. */
void link_free(struct link *link);

/* The link as a disk; the link stays the owner. Its facts are those promised: zero before they are known. Requests have
 * to pass disk_check() with them. */
struct disk *link_disk(struct link *link);

/* link_promise() - of what the first connection offered, the guest was told this: @facts, no more than that. Before the loop
 * runs again. */
void link_promise(struct link *link, const struct disk_facts *facts);

/* link_promise_size() - the guest was told another size: from now on connections have to be as large as that. Any
 * thread. */
void link_promise_size(struct link *link, uint64_t bytes);

/* link_renew() - connect anew, for what a server tells in handshakes alone, such as the size.
 *
 * What is in flight ends first, so that nothing old can land after something new; on a server without can_multi_conn a
 * flush follows, since the next connection's flushes need not cover the writes of this one. Requests wait meanwhile, up
 * to LINK_DRAIN_MS and the dial. Without effect on a link that is not READY: it connects, or renews, anyway.
 * On the loop's thread. */
void link_renew(struct link *link);

/* What the server offers on the present or latest connection; NULL before the first. */
const struct offer *link_offer(const struct link *link);

/* Whether a request that is submitted now goes out at once. */
bool link_is_ready(const struct link *link);

/* Requests that were submitted and are not done. */
unsigned link_load(const struct link *link);
