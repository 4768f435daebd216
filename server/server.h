/* server/server.h -- the whole server: exports, listeners, handshakes, workers, and their end.
 *
 * server_init(), exports and listeners are added, server_run() serves until a signal, server_fini().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "conf/loop.h"
#include "server/export.h"
#include "server/handshake.h"
#include "server/tls.h"
#include "server/worker.h"

struct server {
	struct loop loop;
	struct exports exports;
	struct tls tls;
	struct handshakes handshakes;
	struct listener **listeners; /* owned */
	unsigned listener_count;
	struct worker *workers; /* owned */
	unsigned worker_count, workers_running;
	ev_signal on_signal[2], on_hangup;
	ev_timer on_drain_deadline, on_measure;
	bool draining;
};

/* Returns 0 or -errno. */
int server_init(struct server *server);
void server_fini(struct server *server);

/* server_secure() - use TLS as @settings say, to be called after the exports were added and once at most; from then on
 * SIGHUP loads certificates and keys again.
 * Returns 0; or -1 with @why, also where the rules of an export need what @settings do not give. */
int server_secure(struct server *server, const struct tls_settings *settings, char *why, size_t why_size);

/* server_listen() - listen on every address that @text (conf/address.h) stands for. Returns 0, or -1 with @why. */
int server_listen(struct server *server, const char *text, char *why, size_t why_size);

/* server_run() - tell in the log where we listen, and serve.
 * On SIGTERM or SIGINT: stop listening, let requests in flight be answered, for DRAIN_DEADLINE_S at most, and return
 * 0. A second signal ends the process at once. Returns -1 with @why when the workers cannot be started. */
int server_run(struct server *server, unsigned workers, char *why, size_t why_size);
