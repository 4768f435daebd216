/* server/server.h -- the whole server: exports, listeners, handshakes, workers, and their end.
 *
 * server_init(), exports and listeners or one connection are added, server_run() serves until a signal, server_fini().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "conf/control.h"
#include "conf/loop.h"
#include "server/admission.h"
#include "server/budget.h"
#include "server/export.h"
#include "server/fault.h"
#include "server/handshake.h"
#include "server/inherited.h"
#include "server/losses.h"
#include "server/powercut.h"
#include "server/succession.h"
#include "server/tls.h"
#include "server/worker.h"

/* What an operator may change of server/limits.h. */
struct server_limits {
	unsigned connections;
	unsigned connections_per_address;
	unsigned handshake_s;
	uint64_t memory_bytes;
};

struct server {
	struct loop loop;
	struct admission admission;
	struct budget budget;
	struct exports exports;
	struct tls tls;
	struct control *control; /* owned; NULL: none */
	struct handshakes handshakes;
	struct powercuts powercuts;
	struct losses losses;
	struct successions successions;
	struct fault_set faults;     /* of what has no export */
	struct listener **listeners; /* owned */
	unsigned listener_count;
	struct worker *workers; /* owned */
	unsigned worker_count, workers_running;
	ev_signal on_signal[2], on_hangup;
	ev_timer on_drain_deadline, on_measure, on_watchdog;
	int connection; /* owned: the only one we serve, until its handshake starts; or -1 */
	bool single;	/* we end with it */
	bool draining;
};

/* Returns 0 or -errno. */
int server_init(struct server *server, const struct server_limits *limits);
void server_fini(struct server *server);

/* server_secure() - use TLS as @settings say, to be called after the exports were added and once at most; from then on
 * SIGHUP loads certificates and keys again; without TLS, there are none, and it does nothing.
 * Returns 0; or -1 with @why, also where the rules of an export need what @settings do not give. */
int server_secure(struct server *server, const struct tls_settings *settings, char *why, size_t why_size);

/* server_listen() - listen on every address that @text (conf/address.h) stands for. Returns 0, or -1 with @why. */
int server_listen(struct server *server, const char *text, char *why, size_t why_size);

/* server_adopt() - accept clients from every socket of @inherited that is left there, and take it. Returns 0, or -1 with
 * @why, where one is not fit for that. */
int server_adopt(struct server *server, struct inherited *inherited, char *why, size_t why_size);

/* server_serve_one() - instead of listening: serve @fd, a connected socket in blocking mode, which is the server's from now
 * on, and end with it. */
void server_serve_one(struct server *server, int fd);

/* server_control() - let operators steer us by a socket at @address, unix:PATH, until we are told to end.
 * Returns 0, or -1 with @why. */
int server_control(struct server *server, const char *address, char *why, size_t why_size);

/* server_run() - tell in the log where we listen, and serve.
 * Readiness and end are told to systemd, too, where it asked for that, and that the loop turns: sd_notify(3).
 * On SIGTERM or SIGINT: stop listening, let requests in flight be answered, for DRAIN_DEADLINE_S at most, and return
 * 0. A second signal ends the process at once. Returns -1 with @why when the workers cannot be started. */
int server_run(struct server *server, unsigned workers, char *why, size_t why_size);
