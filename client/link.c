/* client/link.c -- connections on a libev loop, and everything that must not reach the guest when a server goes away.
 *
 * L1  A request that was submitted is in exactly one place until done(): waiting (a block request), or as a command in
 *     unsent, sent or answered.
 * L2  sent holds what the engine has; it is empty in DOWN and DIALLING, so no dead connection can write to guest memory.
 * L3  The engine's callbacks only move commands to answered, or mark the link doomed: they may run inside any call of ours
 *     into it, even inside the one that hands over a command.
 * L4  done() runs only from on_socket(), on_dial() and on_timer(), so never inside disk_submit().
 * L5  Commands go out from on_turn(), once a turn of the loop, and after answers: so that a batch leaves together.
 * L6  Only link_handle() writes link->state.
 * L7  DRAINED comes only when nothing is in flight: no command of the connection that is given up can land later.
 */
#include "client/link.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "client/command_list.h"
#include "client/dial.h"
#include "client/engine.h"
#include "client/session_name.h"
#include "client/link_state.h"
#include "conf/container.h"
#include "conf/log_limit.h"

/* Probes to an idle peer; unanswered until LINK_SILENCE_MS is over, they end the connection. */
#define LINK_PROBE_S 5

#define LINK_NAME_SIZE 300

/* A server may end connections as often as it likes. */
#define LOSS_LINES_PER_S 20

static struct log_limit loss_lines =
	LOG_LIMIT(LOSS_LINES_PER_S, "more connections lost or made again than this log tells");

struct link {
	struct disk disk;
	struct loop *loop;	  /* borrowed: see link_config */
	const char *uri;	  /* borrowed: see link_config */
	struct link_watch *watch; /* borrowed: see link_config; NULL once the first dial succeeded */
	struct link_sizes *sizes; /* borrowed: see link_config; NULL: nobody */
	char name[LINK_NAME_SIZE];
	char session[SESSION_NAME_SIZE]; /* empty: none */
	bool readonly;

	enum link_state state;
	struct nbd_handle *nbd; /* owned: in DIALLING, until there is an engine */
	struct engine *engine;	/* owned: in REPLAYING, READY, DRAINING; NULL: none */
	struct engine_owner engine_owner;
	bool doomed;	   /* the connection is lost; on_timer or on_socket takes it to DOWN */
	bool has_promised; /* disk.facts is valid */
	bool has_offer;	   /* offer is valid */
	bool proved;	   /* this connection has answered a command */
	struct offer offer;
	unsigned backoff_ms;	  /* before the next dial */
	ev_tstamp dialled_at;	  /* loop time of the latest dial */
	ev_tstamp drain_deadline; /* loop time */
	ev_tstamp lost_at; /* loop time of the latest loss of a connection that worked; 0: none since READY */
	char why[OFFER_WHY_SIZE];  /* why this dial or connection failed */
	char told[OFFER_WHY_SIZE]; /* what was logged last about it: not every dial says the same again */

	ev_io on_dial;		      /* DIALLING: libnbd's socket */
	struct loop_source on_socket; /* the engine's */
	/* DOWN: the next dial; DIALLING, DRAINING: the deadline; else at once, to look after L4 */
	ev_timer on_timer;
	struct loop_turn turn;

	struct block_req *waiting, **last_waiting;
	struct command_list unsent, sent, answered, idle;
	/* Before a connection is renewed, where others do not flush for it. */
	struct {
		struct block_req req;
		bool running, done, failed; /* done, failed: since DRAINING began */
	} last_flush;
	unsigned load;
	struct flat_pool flats;
	struct command commands[LINK_COMMANDS_MAX];
};

static void link_handle(struct link *link, enum link_event event);

static struct link *link_of(struct disk *disk)
{
	return container_of(disk, struct link, disk);
}

/* -- requests ----------------------------------------------------------------------------------------------------- */

static struct command_limits limits_of(const struct link *link)
{
	return (struct command_limits){ link->offer.command_data_max, link->offer.native_fua,
		link->engine->scatters };
}

static void unwatch(struct link *link)
{
	ev_io_stop(link->loop->ev, &link->on_dial);
	loop_unwatch(link->loop, &link->on_socket);
}

/* The first reason that says something is kept; NULL: none is known. libnbd closes the socket of a handle that dies on its
 * own, and it must not be watched then. */
static void doom(struct link *link, const char *why)
{
	if (!link->doomed)
		link->why[0] = '\0';
	link->doomed = true;
	unwatch(link);
	if (why && !link->why[0])
		snprintf(link->why, sizeof(link->why), "%s", why);
}

static void wake_timer(struct link *link, double seconds)
{
	loop_use_ev(link->loop);
	ev_timer_stop(link->loop->ev, &link->on_timer);
	ev_timer_set(&link->on_timer, seconds, 0.);
	ev_timer_start(link->loop->ev, &link->on_timer);
}

static struct link *link_of_engine(struct engine_owner *owner)
{
	return container_of(owner, struct link, engine_owner);
}

/* L3 */
static void on_answered(struct engine_owner *owner, struct command *command)
{
	struct link *link = link_of_engine(owner);

	command_list_remove(&link->sent, command);
	command_list_append(&link->answered, command);
	link->proved = true;
}

/* L3 */
static void on_lost(struct engine_owner *owner, const char *why)
{
	doom(link_of_engine(owner), why);
}

/* The next command to send in this state; but in READY only what has begun before. */
static struct command *next_unsent(struct link *link)
{
	struct block_req *req = link->waiting;
	struct command *command;

	if (link->unsent.first || link->state != LINK_READY || !req)
		return link->unsent.first;
	command = command_list_take(&link->idle);
	if (!command)
		return NULL;
	link->waiting = req->wait.next;
	if (!link->waiting)
		link->last_waiting = &link->waiting;
	command_start(command, req);
	command_list_append(&link->unsent, command);
	return command;
}

/* Returns false where nothing more can be sent now. */
static bool send_one(struct link *link)
{
	struct command_limits limits = limits_of(link);
	struct command *command = link->doomed ? NULL : next_unsent(link);

	if (!command || !command_prepare(command, &limits, &link->flats))
		return false;
	command_list_remove(&link->unsent, command);
	command_list_append(&link->sent, command);
	if (engine_issue(link->engine, command))
		return true;
	command_list_remove(&link->sent, command);
	command_list_prepend(&link->unsent, command);
	return false;
}

static void send_unsent(struct link *link)
{
	while (send_one(link))
		;
	if (!link->doomed)
		engine_flush(link->engine);
}

/* Runs done(), which may submit: nothing of @command is used after it. */
static void end_request(struct link *link, struct command *command)
{
	struct block_req *req = command->req;
	int status = command->status;

	command_list_append(&link->idle, command);
	link->load--;
	req->done(req, status);
}

static void handle_answers(struct link *link)
{
	struct command_limits limits = limits_of(link);
	struct command *command;

	while ((command = command_list_take(&link->answered))) {
		if (command_advance(command, &limits, &link->flats))
			command_list_prepend(&link->unsent, command);
		else
			end_request(link, command);
	}
}

static int link_submit(struct disk *disk, struct block_req *req)
{
	struct link *link = link_of(disk);

	loop_assert_mine(link->loop);
	req->wait.next = NULL;
	*link->last_waiting = req;
	link->last_waiting = &req->wait.next;
	link->load++;
	return DISK_PENDING;
}

/* -- recalling ---------------------------------------------------------------------------------------------------- */

static bool take_waiting(struct link *link, const struct block_req *req)
{
	struct block_req **at = &link->waiting;

	while (*at && *at != req)
		at = &(*at)->wait.next;
	if (!*at)
		return false;
	*at = req->wait.next;
	if (!*at)
		link->last_waiting = at;
	return true;
}

static struct command *find_command(const struct command_list *list, const struct block_req *req)
{
	struct command *command = list->first;

	while (command && command->req != req)
		command = command->next;
	return command;
}

static struct command *command_that_carries(const struct link *link, const struct block_req *req)
{
	struct command *command = find_command(&link->unsent, req);

	if (!command)
		command = find_command(&link->sent, req);
	return command ? command : find_command(&link->answered, req);
}

static bool is_connected(const struct link *link)
{
	return link->state != LINK_DOWN && link->state != LINK_DIALLING;
}

/* L2: without a connection nothing of ours is on its way. */
static bool link_recall(struct disk *disk, struct block_req *req)
{
	struct link *link = link_of(disk);
	struct command *command;

	loop_assert_mine(link->loop);
	if (take_waiting(link, req)) {
		link->load--;
		return true;
	}
	command = command_that_carries(link, req);
	if (!command)
		return false;
	command->recalled = true;
	if (is_connected(link))
		return false;
	command_list_remove(&link->unsent, command);
	command_list_append(&link->idle, command);
	link->load--;
	return true;
}

/* Their connection is lost: they are not sent again. */
static void end_recalled(struct link *link)
{
	struct command_list recalled = { NULL, NULL };
	struct command *command, *next;

	for (command = link->unsent.first; command; command = next) {
		next = command->next;
		if (!command->recalled)
			continue;
		command_list_remove(&link->unsent, command);
		command_list_append(&recalled, command);
	}
	while ((command = command_list_take(&recalled))) {
		command->status = -ECANCELED;
		end_request(link, command);
	}
}

/* -- renewing ----------------------------------------------------------------------------------------------------- */

static void on_last_flush(struct block_req *req, int status)
{
	struct link *link = container_of(req, struct link, last_flush.req);

	link->last_flush.running = false;
	link->last_flush.done = status == 0;
	link->last_flush.failed = status != 0;
}

static void start_last_flush(struct link *link)
{
	struct command *command = command_list_take(&link->idle);

	link->last_flush.running = true;
	link->last_flush.req = (struct block_req){ .op = BLOCK_FLUSH, .done = on_last_flush };
	link->load++;
	command_start(command, &link->last_flush.req);
	command_list_append(&link->unsent, command);
}

static bool needs_last_flush(const struct link *link)
{
	return link->offer.facts.can_flush && !link->offer.facts.can_multi_conn && !link->last_flush.done;
}

/* L7 */
static enum link_event next_of_draining(struct link *link)
{
	if (link->unsent.first || link->sent.first || link->answered.first)
		return LINK_NOTHING;
	if (link->last_flush.failed) {
		log_warning("%s: the server cannot flush: the connection stays as it is", link->name);
		return LINK_KEPT;
	}
	if (!needs_last_flush(link)) {
		engine_disconnect(link->engine);
		return LINK_DRAINED;
	}
	start_last_flush(link);
	return LINK_NOTHING;
}

void link_renew(struct link *link)
{
	loop_assert_mine(link->loop);
	if (link->state == LINK_READY && !link->doomed && !link->last_flush.running)
		link_handle(link, LINK_RENEW);
}

/* -- the connection ----------------------------------------------------------------------------------------------- */

/* While dialling, libnbd may have closed a socket and opened another of the same number, so the watcher is set anew each
 * time. */
static void watch_dial(struct link *link)
{
	struct ev_loop *ev = link->loop->ev;
	int fd = dial_fd(link->nbd);

	ev_io_stop(ev, &link->on_dial);
	if (fd < 0)
		return;
	loop_use_ev(link->loop);
	ev_io_set(&link->on_dial, fd, dial_events(link->nbd));
	ev_io_start(ev, &link->on_dial);
}

static void watch_engine(struct link *link)
{
	int events = engine_events(link->engine);

	if (link->on_socket.fd >= 0 && events == link->on_socket.events)
		return;
	if (loop_watch(link->loop, &link->on_socket, link->engine->fd, events, false))
		doom(link, "out of memory");
}

/* Have TCP notice a peer that went without a word. Sockets of other kinds end with their peer. */
static void watch_peer(int fd)
{
	const int on = 1, probe_s = LINK_PROBE_S, silence_ms = LINK_SILENCE_MS;
	const int probes = LINK_SILENCE_MS / 1000 / LINK_PROBE_S;

	if (setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof(silence_ms)))
		return;
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &probe_s, sizeof(probe_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &probe_s, sizeof(probe_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

/* What follows after the engine ran: answers go up, commands go out, a lost connection is given up. */
static void settle(struct link *link)
{
	handle_answers(link);
	if (link->doomed) {
		link_handle(link, LINK_LOST);
		return;
	}
	if (link->state == LINK_REPLAYING && !link->unsent.first) {
		link_handle(link, LINK_REPLAYED);
		return;
	}
	if (link->state == LINK_DRAINING)
		link_handle(link, next_of_draining(link));
	if (link->engine)
		watch_engine(link);
}

static void on_dial(struct ev_loop *ev, ev_io *watcher, int revents)
{
	struct link *link = watcher->data;
	char why[DIAL_WHY_SIZE];

	(void)ev;
	loop_assert_mine(link->loop);
	switch (dial_step(link->nbd, link->uri, revents, why)) {
	case DIAL_GOES_ON:
		watch_dial(link);
		break;
	case DIAL_DONE:
		link_handle(link, LINK_UP);
		break;
	case DIAL_FAILED:
		doom(link, why);
		link_handle(link, LINK_LOST);
		break;
	}
}

static void on_socket(struct loop_source *source, int revents)
{
	struct link *link = container_of(source, struct link, on_socket);

	loop_assert_mine(link->loop);
	engine_on_ready(link->engine, revents);
	settle(link);
}

static void limit_draining(struct link *link)
{
	double left_s = link->drain_deadline - loop_now(link->loop);

	if (left_s > 0)
		wake_timer(link, left_s);
	else
		link_handle(link, LINK_KEPT);
}

static void on_timer(struct ev_loop *ev, ev_timer *watcher, int revents)
{
	struct link *link = watcher->data;
	char why[OFFER_WHY_SIZE];

	(void)ev;
	(void)revents;
	loop_assert_mine(link->loop);
	if (link->state == LINK_DOWN) {
		link_handle(link, LINK_DIAL);
		return;
	}
	if (link->state == LINK_DIALLING) {
		snprintf(why, sizeof(why), "no answer within %u s", LINK_DIAL_MS / 1000);
		doom(link, why);
		link_handle(link, LINK_LOST);
		return;
	}
	settle(link);
	if (link->state == LINK_DRAINING)
		limit_draining(link);
}

/* The loop is about to sleep: send what this turn submitted. What that brings to an end is left to on_timer. */
static void on_turn(struct loop_turn *turn)
{
	struct link *link = container_of(turn, struct link, turn);

	if (link->state == LINK_DOWN || link->state == LINK_DIALLING)
		return;
	send_unsent(link);
	if (!link->doomed)
		watch_engine(link);
	if (link->doomed || link->answered.first || (link->state == LINK_REPLAYING && !link->unsent.first))
		wake_timer(link, 0.);
}

/* -- the states --------------------------------------------------------------------------------------------------- */

static enum link_event enter_dialling(struct link *link)
{
	char why[DIAL_WHY_SIZE];

	link->doomed = false;
	link->proved = false;
	link->dialled_at = loop_now(link->loop);
	link->nbd = dial_begin(link->uri, link->session[0] ? link->session : NULL, why);
	if (!link->nbd) {
		doom(link, why);
		return LINK_LOST;
	}
	wake_timer(link, LINK_DIAL_MS / 1e3);
	if (dial_step(link->nbd, link->uri, 0, why) == DIAL_DONE)
		return LINK_UP;
	watch_dial(link);
	return LINK_NOTHING;
}

static void promise(struct link *link)
{
	link->disk.facts = link->offer.facts;
	link->disk.facts.readonly |= link->readonly;
	link->has_promised = true;
}

static void tell_watch(struct link *link, const char *why)
{
	struct link_watch *watch = link->watch;

	if (!watch)
		return;
	if (!why)
		link->watch = NULL;
	watch->dialled(watch, link, why);
}

/* The handshake is done: is this still the disk that the guest knows? */
static bool accept_offer(struct link *link)
{
	struct offer offer;

	if (offer_read(link->nbd, &offer, link->why))
		return false;
	if (link->has_promised && offer_keeps(&link->disk.facts, &offer.facts, link->why))
		return false;
	link->offer = offer;
	link->has_offer = true;
	if (!link->has_promised)
		promise(link);
	if (link->sizes)
		link->sizes->sized(link->sizes, offer.facts.size);
	return true;
}

static bool take_connection(struct link *link)
{
	struct command_pool pool = { link->commands, LINK_COMMANDS_MAX };

	/* libnbd may close its own socket now. */
	unwatch(link);
	link->engine = engine_new(link->nbd, link->uri, pool, &link->engine_owner);
	if (!link->engine) {
		doom(link, "out of memory or descriptors");
		return false;
	}
	link->nbd = NULL;
	return true;
}

static enum link_event enter_replaying(struct link *link)
{
	ev_timer_stop(link->loop->ev, &link->on_timer);
	if (!accept_offer(link) || !take_connection(link))
		return LINK_LOST;
	watch_peer(link->engine->fd);
	watch_engine(link);
	send_unsent(link);
	if (link->doomed)
		return LINK_LOST;
	return link->unsent.first ? LINK_NOTHING : LINK_REPLAYED;
}

static enum link_event enter_ready(struct link *link)
{
	if (link->lost_at > 0)
		log_limited(&loss_lines, LOG_INFO, "%s: connected again after %.1f s", link->name,
			loop_now(link->loop) - link->lost_at);
	link->lost_at = 0;
	link->told[0] = '\0';
	tell_watch(link, NULL);
	return LINK_NOTHING;
}

static enum link_event enter_draining(struct link *link)
{
	link->last_flush.done = link->last_flush.failed = false;
	link->drain_deadline = loop_now(link->loop) + LINK_DRAIN_MS / 1e3;
	wake_timer(link, LINK_DRAIN_MS / 1e3);
	return next_of_draining(link);
}

static void tell_loss(struct link *link, enum link_state from)
{
	if (from == LINK_DRAINING && !link->doomed) {
		link->lost_at = loop_now(link->loop);
		return;
	}
	if (!link->why[0])
		snprintf(link->why, sizeof(link->why), "the server closed the connection");
	if (from == LINK_READY || from == LINK_DRAINING) {
		link->lost_at = loop_now(link->loop);
		log_limited(&loss_lines, LOG_WARNING, "%s: connection lost: %s; requests wait: %u",
			link->name, link->why, link->load);
	} else if (link->has_promised && strcmp(link->why, link->told) != 0) {
		/* From REPLAYING it is a server that is there but does not keep its promise. */
		log_line(from == LINK_REPLAYING ? LOG_ERROR : LOG_WARNING, "%s: %s; trying again", link->name,
			link->why);
	}
	snprintf(link->told, sizeof(link->told), "%s", link->why);
	if (from != LINK_READY && from != LINK_DRAINING)
		tell_watch(link, link->why);
}

/* A connection that answered something is dialled again at once; one that never did makes us patient.
 * @before_ms: the backoff before it was dialled; @age_ms: since then. */
static unsigned next_backoff_ms(unsigned before_ms, bool proved, double age_ms)
{
	if (proved)
		return age_ms < LINK_BACKOFF_MIN_MS ? LINK_BACKOFF_MIN_MS : 0;
	if (before_ms < LINK_BACKOFF_MIN_MS)
		return LINK_BACKOFF_MIN_MS;
	return before_ms * 2 < LINK_BACKOFF_MAX_MS ? before_ms * 2 : LINK_BACKOFF_MAX_MS;
}

static void hang_up(struct link *link)
{
	engine_free(link->engine);
	link->engine = NULL;
	nbd_close(link->nbd);
	link->nbd = NULL;
}

static enum link_event enter_down(struct link *link)
{
	unwatch(link);
	hang_up(link);
	command_list_join(&link->sent, &link->unsent);
	for (struct command *command = link->unsent.first; command; command = command->next)
		command_restart(command, &link->flats);
	end_recalled(link);
	link->backoff_ms = next_backoff_ms(
		link->backoff_ms, link->proved, 1e3 * (loop_now(link->loop) - link->dialled_at));
	wake_timer(link, link->backoff_ms / 1e3);
	return LINK_NOTHING;
}

static enum link_event (*const link_enter[LINK_STATES])(struct link *link) = {
	[LINK_DOWN] = enter_down,
	[LINK_DIALLING] = enter_dialling,
	[LINK_REPLAYING] = enter_replaying,
	[LINK_READY] = enter_ready,
	[LINK_DRAINING] = enter_draining,
};

static void link_handle(struct link *link, enum link_event event)
{
	while (event != LINK_NOTHING) {
		enum link_state from = link->state;

		link->state = link_move(from, event);
		log_debug("%s: %s -> %s", link->name, link_state_name(from), link_state_name(link->state));
		event = link_enter[link->state](link);
		if (link->state == LINK_DOWN)
			tell_loss(link, from);
	}
}

/* -- life --------------------------------------------------------------------------------------------------------- */

static void free_as_disk(struct disk *disk)
{
	link_free(link_of(disk));
}

static const struct disk_ops link_ops = {
	.submit = link_submit, .recall = link_recall, .free = free_as_disk
};

static void init_watchers(struct link *link)
{
	ev_init(&link->on_dial, on_dial);
	ev_timer_init(&link->on_timer, on_timer, 0., 0.);
	link->on_dial.data = link->on_timer.data = link;
	link->on_socket = (struct loop_source){ .ready = on_socket, .fd = -1 };
	link->turn.run = on_turn;
	wake_timer(link, 0.);
	loop_add_turn(link->loop, &link->turn, false);
}

int link_new(const struct link_config *config, struct link **out)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return -ENOMEM;
	if (flat_pool_init(&link->flats)) {
		free(link);
		return -ENOMEM;
	}
	link->disk.ops = &link_ops;
	link->loop = config->loop;
	link->uri = config->uri;
	link->watch = config->watch;
	link->sizes = config->sizes;
	link->readonly = config->readonly;
	snprintf(link->name, sizeof(link->name), "%s", config->name);
	snprintf(link->session, sizeof(link->session), "%s", config->session ? config->session : "");
	if (config->promised) {
		link->disk.facts = *config->promised;
		link->has_promised = true;
	}
	link->last_waiting = &link->waiting;
	link->engine_owner = (struct engine_owner){ on_answered, on_lost };
	for (unsigned i = 0; i < LINK_COMMANDS_MAX; i++)
		command_list_append(&link->idle, &link->commands[i]);
	init_watchers(link);
	*out = link;
	return 0;
}

/* NBD_CMD_DISC, if it can leave at once: a server then knows that nothing went wrong. */
static void say_goodbye(struct link *link)
{
	if (link->state == LINK_READY && !link->sent.first && !link->doomed)
		engine_disconnect(link->engine);
}

void link_free(struct link *link)
{
	if (!link)
		return;
	say_goodbye(link);
	unwatch(link);
	ev_timer_stop(link->loop->ev, &link->on_timer);
	loop_remove_turn(link->loop, &link->turn);
	hang_up(link);
	flat_pool_fini(&link->flats);
	free(link);
}

struct disk *link_disk(struct link *link)
{
	return &link->disk;
}

const struct offer *link_offer(const struct link *link)
{
	return link->has_offer ? &link->offer : NULL;
}

void link_promise(struct link *link, const struct disk_facts *facts)
{
	link->disk.facts = *facts;
}

void link_promise_size(struct link *link, uint64_t bytes)
{
	link->disk.facts.size = bytes;
}

bool link_is_ready(const struct link *link)
{
	return link->state == LINK_READY && !link->doomed;
}

unsigned link_load(const struct link *link)
{
	return link->load;
}
