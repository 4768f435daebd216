/* server/server.c -- puts the pieces together on the main thread.
 *
 *  serving --signal--> draining: listeners closed, workers drain --all workers ended--> server_run() returns
 *                        |  deadline: workers kill their sessions
 *                        +--second signal--> _exit() */
#include "server/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/container.h"
#include "conf/log.h"
#include "server/fault_control.h"
#include "server/limits.h"
#include "server/listener.h"
#include "server/operator.h"
#include "server/powercut_command.h"
#include "server/recording.h"
#include "server/service_manager.h"
#include "server/session.h"
#include "server/tls_kernel.h"

static struct worker *least_loaded(struct server *server)
{
	struct worker *least = &server->workers[0];

	for (unsigned i = 1; i < server->worker_count; i++)
		if (atomic_load_explicit(&server->workers[i].load, memory_order_relaxed) <
			atomic_load_explicit(&least->load, memory_order_relaxed))
			least = &server->workers[i];
	return least;
}

static void on_session_ready(struct handshakes *handshakes, struct session *session)
{
	struct server *server = container_of(handshakes, struct server, handshakes);

	session_hand_over(session, least_loaded(server));
	for (unsigned i = 0; server->single && i < server->worker_count; i++)
		worker_retire(&server->workers[i]);
}

static void admit(struct server *server, int fd, const struct peer *peer)
{
	enum close_reason why;
	struct origin *origin;

	if (admission_enter(&server->admission, peer, &origin, &why)) {
		handshake_start(&server->handshakes, fd, peer, origin);
	} else {
		close_report(why, peer->text);
		close(fd);
	}
}

static void on_accepted(void *owner, int fd, const struct peer *peer)
{
	admit(owner, fd, peer);
}

static void close_listeners(struct server *server)
{
	for (unsigned i = 0; i < server->listener_count; i++)
		listener_close(server->listeners[i]);
	server->listener_count = 0;
}

/* Workers that are ending do not answer operators any more. */
static void close_control(struct server *server)
{
	control_close(server->control);
	server->control = NULL;
}

static void drain(struct server *server)
{
	server->draining = true;
	service_notify("STOPPING=1");
	close_listeners(server);
	close_control(server);
	handshakes_close(&server->handshakes, CLOSE_shutdown);
	for (unsigned i = 0; i < server->worker_count; i++)
		worker_drain(&server->workers[i]);
	ev_timer_start(server->loop.ev, &server->on_drain_deadline);
}

static void on_connection_lost(struct handshakes *handshakes)
{
	struct server *server = container_of(handshakes, struct server, handshakes);

	if (server->single && !server->draining)
		drain(server);
}

static void on_signal(struct ev_loop *ev, ev_signal *watcher, int events)
{
	struct server *server = watcher->data;

	(void)ev;
	(void)events;
	if (server->draining) {
		log_warning("second signal: ends at once");
		_exit(EXIT_FAILURE);
	}
	log_info("signal %s: finishes what is in flight and ends", sigabbrev_np(watcher->signum));
	drain(server);
}

static void on_drain_deadline(struct ev_loop *ev, ev_timer *timer, int events)
{
	struct server *server = timer->data;

	(void)ev;
	(void)events;
	for (unsigned i = 0; i < server->worker_count; i++)
		worker_kill(&server->workers[i]);
}

static void on_lost(void *context, struct export *export)
{
	struct server *server = context;

	losses_found(&server->losses, export);
}

static void on_measure(struct ev_loop *ev, ev_timer *timer, int events)
{
	struct server *server = timer->data;

	(void)ev;
	(void)events;
	if (!server->draining)
		exports_measure(&server->exports, on_lost, server);
}

static void on_watchdog(struct ev_loop *ev, ev_timer *timer, int events)
{
	(void)ev;
	(void)timer;
	(void)events;
	service_notify("WATCHDOG=1");
}

/* Twice as often as systemd expects it. It is the main loop that turns: a disk that hangs holds up workers, and no other
 * process would help it. */
static void feed_watchdog(struct server *server)
{
	double every_s = (double)service_watchdog_us() / 2e6;

	if (every_s <= 0)
		return;
	ev_timer_set(&server->on_watchdog, every_s, every_s);
	ev_timer_start(server->loop.ev, &server->on_watchdog);
}

static void on_worker_ended(struct mail *mail)
{
	struct worker *worker = container_of(mail, struct worker, ended);
	struct server *server = container_of(worker->owner, struct server, loop.mailbox);

	if (--server->workers_running == 0)
		loop_stop(&server->loop);
}

static void on_hangup(struct ev_loop *ev, ev_signal *watcher, int events)
{
	struct server *server = watcher->data;
	char why[512];

	(void)ev;
	(void)events;
	if (server->tls.settings.mode == TLS_OFF)
		log_info("signal HUP: there are no certificates or keys to be loaded again");
	else if (tls_reload(&server->tls, why, sizeof(why)))
		log_error("signal HUP: keeps its certificates and keys: %s", why);
	else
		log_info("signal HUP: certificates and keys are loaded again");
}

static void watch_signals(struct server *server)
{
	static const int signals[2] = { SIGTERM, SIGINT };

	for (int i = 0; i < 2; i++) {
		ev_signal_init(&server->on_signal[i], on_signal, signals[i]);
		server->on_signal[i].data = server;
		ev_signal_start(server->loop.ev, &server->on_signal[i]);
	}
	/* Also without TLS: an operator who has every service reloaded does not want it to end. */
	ev_signal_init(&server->on_hangup, on_hangup, SIGHUP);
	server->on_hangup.data = server;
	ev_signal_start(server->loop.ev, &server->on_hangup);
}

int server_init(struct server *server, const struct server_limits *limits)
{
	int error;

	*server = (struct server){ .connection = -1 };
	error = loop_init(&server->loop, true);
	if (error)
		return error;
	exports_init(&server->exports);
	budget_init(&server->budget, limits->memory_bytes);
	admission_init(&server->admission, limits->connections, limits->connections_per_address);
	handshakes_init(&server->handshakes, &server->loop, &server->exports, &server->tls,
		limits->handshake_s, on_session_ready);
	server->handshakes.lost = on_connection_lost;
	powercuts_init(&server->powercuts, &server->loop, &server->handshakes);
	losses_init(&server->losses, &server->loop, &server->handshakes);
	successions_init(&server->successions, &server->loop);
	server->handshakes.successions = &server->successions;
	fault_set_init(&server->faults, NULL);
	server->handshakes.faults = &server->faults;
	ev_timer_init(&server->on_drain_deadline, on_drain_deadline, DRAIN_DEADLINE_S, 0);
	server->on_drain_deadline.data = server;
	ev_timer_init(&server->on_watchdog, on_watchdog, 0, 0);
	ev_timer_init(&server->on_measure, on_measure, MEASURE_S, MEASURE_S);
	server->on_measure.data = server;
	ev_timer_start(server->loop.ev, &server->on_measure);
	watch_signals(server);
	return 0;
}

/* What the rules of @access need that @settings do not give, or NULL. */
static const char *missing_for(const struct access *access, const struct tls_settings *settings)
{
	bool by_certificate = access_names(access, ACCESS_NAME) || access_names(access, ACCESS_SUBJECT);

	if (by_certificate && !settings->verify_peer)
		return "certificates of clients are verified (--tls-verify-peer)";
	if (access_names(access, ACCESS_PSK) && !settings->psk)
		return "there are pre-shared keys (--tls-psk)";
	if (access_needs_tls(access) && settings->mode == TLS_OFF)
		return "there is TLS (--tls)";
	return NULL;
}

static int check_access(
	const struct exports *exports, const struct tls_settings *settings, char *why, size_t why_size)
{
	for (const struct export *export = exports->first; export; export = export->next) {
		const char *missing = missing_for(&export->spec.access, settings);

		if (!missing)
			continue;
		snprintf(why, why_size, "nobody can use export '%s' unless %s",
			export->folder ? export->spec.path : export->spec.name, missing);
		return -1;
	}
	return 0;
}

static void announce_tls(const struct tls_settings *settings)
{
	log_info("TLS is %s, with%s%s%s%s%s", settings->mode == TLS_REQUIRE ? "required" : "possible",
		settings->certificates ? " the certificate in " : "",
		settings->certificates ? settings->certificates : "",
		settings->verify_peer ? ", verifying that of the client" : "",
		settings->psk ? (settings->certificates ? ", or keys from " : " keys from ") : "",
		settings->psk ? settings->psk : "");
}

/* Who makes the records: the kernel, if it can and may. */
static void choose_offload(struct tls *tls)
{
	const char *missing;
	int error = tls->settings.no_kernel ? 0 : tls_kernel_probe(&missing);

	if (tls->settings.no_kernel)
		log_info("TLS records are encrypted by GnuTLS");
	else if (error)
		log_info("TLS records are encrypted by GnuTLS: the kernel has no %s: %s", missing,
			strerror(-error));
	else
		log_info("TLS records are encrypted by the kernel where one key lasts, or else by GnuTLS");
	tls->by_kernel = !tls->settings.no_kernel && error == 0;
}

int server_secure(struct server *server, const struct tls_settings *settings, char *why, size_t why_size)
{
	if (check_access(&server->exports, settings, why, why_size))
		return -1;
	if (tls_open(&server->tls, settings, why, why_size))
		return -1;
	if (settings->mode == TLS_OFF)
		return 0;
	announce_tls(settings);
	choose_offload(&server->tls);
	return 0;
}

/* Room for one more listener. */
static int grow_listeners(struct server *server, char *why, size_t why_size)
{
	struct listener **more =
		realloc(server->listeners, (server->listener_count + 1) * sizeof(struct listener *));

	if (!more) {
		snprintf(why, why_size, "out of memory");
		return -1;
	}
	server->listeners = more;
	return 0;
}

/* Returns 0, or -1 where there is none: why is told already. */
static int add_listener(struct server *server, struct listener *listener)
{
	if (!listener)
		return -1;
	server->listeners[server->listener_count++] = listener;
	return 0;
}

static int listen_on(struct server *server, const struct address *address, char *why, size_t why_size)
{
	if (grow_listeners(server, why, why_size))
		return -1;
	return add_listener(
		server, listener_open(&server->loop, address, on_accepted, server, why, why_size));
}

int server_listen(struct server *server, const char *text, char *why, size_t why_size)
{
	struct address addresses[ADDRESS_RESOLVED_MAX];
	int prefix = snprintf(why, why_size, "%s: ", text);
	int count;

	if ((size_t)prefix >= why_size)
		prefix = 0;
	count = address_resolve(text, addresses, why + prefix, why_size - (size_t)prefix);
	for (int i = 0; i < count; i++)
		if (listen_on(server, &addresses[i], why, why_size))
			return -1;
	return count > 0 ? 0 : -1;
}

int server_adopt(struct server *server, struct inherited *inherited, char *why, size_t why_size)
{
	for (unsigned i = 0; i < inherited->count; i++) {
		int *fd = &inherited->sockets[i].fd;
		int prefix = snprintf(why, why_size,
			"inherited socket '%s', descriptor %d: ", inherited->sockets[i].name, *fd);

		if ((size_t)prefix >= why_size)
			prefix = 0;
		if (grow_listeners(server, why + prefix, why_size - (size_t)prefix) ||
			add_listener(server, listener_adopt(&server->loop, *fd, on_accepted, server,
						     why + prefix, why_size - (size_t)prefix)))
			return -1;
		*fd = -1;
	}
	return 0;
}

void server_serve_one(struct server *server, int fd)
{
	server->connection = fd;
	server->single = true;
}

int server_control(struct server *server, const char *address, char *why, size_t why_size)
{
	if (control_open(&server->loop, address, &server->control, why, why_size))
		return -1;
	control_register(server->control, operator_commands, server);
	control_register(server->control, recording_commands, &server->exports);
	control_register(server->control, powercut_commands, server);
	control_register(server->control, fault_commands, server);
	return 0;
}

static int start_workers(struct server *server, unsigned workers, char *why, size_t why_size)
{
	server->workers = calloc(workers, sizeof(server->workers[0]));
	for (unsigned i = 0; server->workers && i < workers; i++) {
		int error = worker_start(
			&server->workers[i], &server->budget, &server->loop.mailbox, on_worker_ended);

		if (error) {
			snprintf(why, why_size, "cannot start a worker with its io_uring: %s",
				strerror(-error));
			return -1;
		}
		server->worker_count = server->workers_running = i + 1;
	}
	if (server->workers) {
		powercuts_serve(&server->powercuts, server->workers, workers);
		losses_serve(&server->losses, server->workers, workers);
		successions_serve(&server->successions, server->workers, workers);
		return 0;
	}
	snprintf(why, why_size, "out of memory");
	return -1;
}

static void announce(struct server *server)
{
	char uri[256];

	for (unsigned i = 0; i < server->listener_count; i++)
		log_info("listening on %s",
			address_uri(listener_address(server->listeners[i]), uri, sizeof(uri)));
	service_notify("READY=1");
	feed_watchdog(server);
}

static void start_connection(struct server *server)
{
	struct peer peer;
	int fd = server->connection;

	server->connection = -1;
	peer_of(fd, &peer);
	peer_prepare(fd, &peer);
	admit(server, fd, &peer);
}

int server_run(struct server *server, unsigned workers, char *why, size_t why_size)
{
	int error = start_workers(server, workers, why, why_size);

	if (error)
		drain(server);
	else
		announce(server);
	if (!error && server->single)
		start_connection(server);
	if (server->workers_running > 0)
		loop_run(&server->loop);
	for (unsigned i = 0; i < server->worker_count; i++)
		worker_join(&server->workers[i]);
	return error;
}

void server_fini(struct server *server)
{
	close_listeners(server);
	close_control(server);
	if (server->connection >= 0)
		close(server->connection);
	free(server->listeners);
	losses_fini(&server->losses);
	successions_fini(&server->successions);
	free(server->workers);
	budget_fini(&server->budget);
	admission_fini(&server->admission);
	exports_fini(&server->exports);
	powercuts_fini(&server->powercuts);
	fault_set_fini(&server->faults);
	tls_close(&server->tls);
	for (int i = 0; i < 2; i++)
		ev_signal_stop(server->loop.ev, &server->on_signal[i]);
	ev_signal_stop(server->loop.ev, &server->on_hangup);
	ev_timer_stop(server->loop.ev, &server->on_drain_deadline);
	ev_timer_stop(server->loop.ev, &server->on_measure);
	ev_timer_stop(server->loop.ev, &server->on_watchdog);
	loop_fini(&server->loop);
}
