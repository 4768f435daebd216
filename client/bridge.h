/* client/bridge.h -- a virtio block device whose disk is an NBD export, for a VMM or for this host's kernel.
 *
 * A queue thread is a loop with its own connections; virtqueue i lives on thread i modulo the number of threads. Where
 * the export does not promise NBD_FLAG_CAN_MULTI_CONN, one thread with one connection serves every queue: only then
 * does a flush cover all writes.
 *
 * Life: bridge_new(), bridge_serve() or bridge_attach(), bridge_stop(); all on the main thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "conf/loop.h"

/* Threads, however many queues, unless told otherwise: each has a connection (and a server's memory for it), and four of
 * them move more than a usual network carries. */
#define BRIDGE_THREADS_USUAL 4u

/* And if told: beyond, there is no host whose guests would notice. */
#define BRIDGE_THREADS_MAX 16u

/* Room for the longest reason below. */
#define BRIDGE_WHY_SIZE 512

struct bridge_config {
	const char *uri;     /* borrowed: outlives the bridge; whatever libnbd takes */
	unsigned num_queues; /* 1 .. VIRTIO_BLK_QUEUES_MAX */
	unsigned
		threads; /* 1 .. BRIDGE_THREADS_MAX, no more than there are queues; 0: see BRIDGE_THREADS_USUAL */
	unsigned connections; /* of each thread, 1 .. STRIPE_LINKS_MAX */
	size_t replay_bytes; /* as struct link_config: then there is one thread and one connection; 0: nothing is kept */
	const char *serial; /* borrowed: outlives the bridge; NULL: none */
	const char *place;  /* borrowed: outlives the bridge; as for session_name_init() */
	bool readonly;
};

struct bridge;

/* bridge_new() - connect to the server, as often as the configuration and the export want.
 * Blocks until all connections are there or one failed (LINK_DIAL_MS each at most). Logs what the export is.
 * Returns 0; or -1 and the reason in @why: it names the URI. */
int bridge_new(const struct bridge_config *config, struct bridge **out, char why[BRIDGE_WHY_SIZE]);

/* bridge_serve() - start the threads, and serve VMMs that connect to @listen_fd, which is taken.
 * @main: borrowed: runs from now on until the bridge has stopped.
 * Returns 0; or -1 with the reason in @why, and the bridge is as after bridge_new(). */
int bridge_serve(struct bridge *bridge, struct loop *main, int listen_fd, char why[BRIDGE_WHY_SIZE]);

/* bridge_attach() - start the threads, and attach the device @name to this host's kernel: see virtio/vduse.h.
 * @main: as bridge_serve(). @failed: runs on it when the kernel does not want the device, or no longer; then bridge_stop().
 * Returns 0; or -1 with the reason in @why, and the bridge is as after bridge_new(). */
int bridge_attach(struct bridge *bridge, struct loop *main, const char *name, void (*failed)(void *arg),
	void *arg, char why[BRIDGE_WHY_SIZE]);

/* bridge_look() - ask the server at once whether the export has another size. While it serves. */
void bridge_look(struct bridge *bridge);

/* bridge_stop() - take no more requests, let those in flight end, part with VMM and server; then @stopped runs on the
 * main loop and the bridge is freed. It takes as long as the server takes to answer: the caller has to limit it. */
void bridge_stop(struct bridge *bridge, void (*stopped)(void *arg), void *arg);

/* bridge_free() - of one that does not serve. */
void bridge_free(struct bridge *bridge);
