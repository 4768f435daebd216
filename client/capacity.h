/* client/capacity.h -- how large the guest's disk is while its export grows or shrinks.
 *
 * The guest is told a size that every connection has been told: many servers refuse what is past the size of the
 * handshake. So when a probe, or a connection that was made again, finds the export larger, the other connections are
 * renewed first, and the disk grows when the last of them is back.
 *
 * Smaller is another matter: it may be the wrong disk. A connection to a smaller export is not made (offer_keeps()). Where
 * a probe is told a smaller size, a read of the last block that the guest knows goes over a connection that there is:
 * only if the server says that this is past its end (EINVAL), it is the same export that has shrunk, and so does the
 * guest's disk. Otherwise the log tells, and nothing changes.
 *
 * Threads: the main loop's, but for what runs inside links.
 */
#pragma once

#include "client/link.h"
#include "client/stripe.h"

struct capacity;

struct capacity_config {
	const char *uri, *name; /* borrowed: outlive the capacity; for the probe */
	/* Runs on the main loop: the disk has another size, and every connection knows. */
	void (*changed)(void *arg, uint64_t bytes);
	void *arg;
};

/* capacity_new() - for connections that are made next. Returns NULL: out of memory. */
struct capacity *capacity_new(const struct capacity_config *config);

/* capacity_sizes() - for the next connection's link_config, and, when there is a link, capacity_add() with it.
 * NULL: out of memory. @loop: the link's. Before capacity_start(). */
struct link_sizes *capacity_sizes(struct capacity *capacity, struct loop *loop);
void capacity_add(struct link_sizes *sizes, struct link *link);

/* capacity_start() - from now on the sizes of connections count; all links are connected, and no loop but this runs yet.
 * @bytes: what the guest is told at first. @disk: borrowed: one whose thread is @loop, to ask with where a probe is told
 * a smaller size.
 * Returns 0 or -ENOMEM. */
int capacity_start(
	struct capacity *capacity, struct loop *main, uint64_t bytes, struct disk *disk, struct loop *loop);

/* capacity_watch() - from now on the server is asked, too. Where that cannot be, the log tells. */
void capacity_watch(struct capacity *capacity);

/* capacity_look() - ask for the size at once. */
void capacity_look(struct capacity *capacity);

/* capacity_stop() - changed() runs no more. The loops of the links do not run any longer; @main has to run once more.
 * capacity_free() comes after that; or when it was never started. */
void capacity_stop(struct capacity *capacity);
void capacity_free(struct capacity *capacity);
