/* client/probe.h -- asks an NBD server again and again how large an export is.
 *
 * NBD has no word for an export that changes its size: a connection is told it once, in the handshake. So a short
 * connection of its own asks, with NBD_OPT_INFO, which opens nothing; or NBD_OPT_GO where the server does not know that.
 * It has a thread of its own because it resolves the server's name each time, for as long as the resolver likes, and
 * neither requests nor the VMM may wait for that.
 *
 * Threads: probe_new(), probe_ask() and probe_free() belong to the loop's.
 * Spec: NBD proto.md, "NBD_OPT_INFO", "NBD_OPT_GO".
 */
#pragma once

#include <stdint.h>

#include "conf/loop.h"

/* Between two questions. Often enough for an operator who has enlarged a disk and waits to see it; a hundred clients
 * that ask with TLS take some percent of a core of the server. */
#define PROBE_INTERVAL_S 10L

/* After an attempt that got no answer the interval doubles, up to this: some servers take no more connections than the
 * disk has already. */
#define PROBE_INTERVAL_MAX_S 160L

/* Connect, TLS, question and answer. */
#define PROBE_ANSWER_S 10L

struct probe;

struct probe_config {
	struct loop *loop; /* borrowed: runs, and outlives the probe */
	const char *uri;   /* borrowed: outlives the probe; whatever libnbd takes */
	const char *name;  /* borrowed: outlives the probe; for the log */
	/* Runs on the loop for each answer. */
	void (*sized)(void *arg, uint64_t bytes);
	void *arg;
};

/* probe_new() - begins with an interval of silence.
 * Returns 0, -ENOMEM, or -errno of the thread or its eventfd. */
int probe_new(const struct probe_config *config, struct probe **out);

/* probe_ask() - ask at once. */
void probe_ask(struct probe *probe);

/* probe_free() - sized() runs no more. NULL is harmless. May wait for a resolver that takes its time. The loop has to run
 * once more before it may be freed. */
void probe_free(struct probe *probe);
