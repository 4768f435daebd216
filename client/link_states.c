/* client/link_states.c -- connections come and go: each state is entered by a function, and left by an event. */
#include "client/link_parts.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "conf/log_limit.h"

/* Probes to an idle peer; unanswered until LINK_SILENCE_MS is over, they end the connection. */
#define LINK_PROBE_S 5

/* A server may end connections as often as it likes. */
#define LOSS_LINES_PER_S 20

static struct log_limit loss_lines =
	LOG_LIMIT(LOSS_LINES_PER_S, "more connections lost or made again than this log tells");

/* -- watching ----------------------------------------------------------------------------------------------------- */

void link_unwatch(struct link *link)
{
	ev_io_stop(link->loop->ev, &link->on_dial);
	loop_unwatch(link->loop, &link->on_socket);
}

/* The first reason that says something is kept; NULL: none is known. libnbd closes the socket of a handle that dies on its
 * own, and it must not be watched then. */
void link_doom(struct link *link, const char *why)
{
	if (!link->doomed)
		link->why[0] = '\0';
	link->doomed = true;
	link_unwatch(link);
	if (why && !link->why[0])
		snprintf(link->why, sizeof(link->why), "%s", why);
}

void link_wake(struct link *link, double seconds)
{
	loop_use_ev(link->loop);
	ev_timer_stop(link->loop->ev, &link->on_timer);
	ev_timer_set(&link->on_timer, seconds, 0.);
	ev_timer_start(link->loop->ev, &link->on_timer);
}

/* -- the connection ----------------------------------------------------------------------------------------------- */

/* Who keeps nothing does not need to know. */
static struct dial_verifier *verifier_of(struct link *link)
{
	return link->replay.ring ? &link->verifier : NULL;
}

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
		link_doom(link, "out of memory");
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

static bool has_replayed(const struct link *link)
{
	return !link_replay_is_running(link) && !link->unsent.first;
}

/* What follows after the engine ran: answers go up, commands go out, a lost connection is given up. */
static void settle(struct link *link)
{
	link_take_answers(link);
	if (link->doomed) {
		link_handle(link, LINK_LOST);
		return;
	}
	if (link->state == LINK_REPLAYING && has_replayed(link)) {
		link_handle(link, LINK_REPLAYED);
		return;
	}
	if (link->state == LINK_DRAINING)
		link_handle(link, link_next_of_draining(link));
	if (link->engine)
		watch_engine(link);
}

void link_on_dial(struct ev_loop *ev, ev_io *watcher, int revents)
{
	struct link *link = watcher->data;
	char why[DIAL_WHY_SIZE];

	(void)ev;
	loop_assert_mine(link->loop);
	switch (dial_step(link->nbd, link->uri, verifier_of(link), revents, why)) {
	case DIAL_GOES_ON:
		watch_dial(link);
		break;
	case DIAL_DONE:
		link_handle(link, LINK_UP);
		break;
	case DIAL_FAILED:
		link_doom(link, why);
		link_handle(link, LINK_LOST);
		break;
	}
}

void link_on_socket(struct loop_source *source, int revents)
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
		link_wake(link, left_s);
	else
		link_handle(link, LINK_KEPT);
}

void link_on_timer(struct ev_loop *ev, ev_timer *watcher, int revents)
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
		link_doom(link, why);
		link_handle(link, LINK_LOST);
		return;
	}
	settle(link);
	if (link->state == LINK_DRAINING)
		limit_draining(link);
}

/* The loop is about to sleep: send what this turn submitted. What that brings to an end is left to on_timer. */
void link_on_turn(struct loop_turn *turn)
{
	struct link *link = container_of(turn, struct link, turn);

	if (link->state == LINK_DOWN || link->state == LINK_DIALLING)
		return;
	link_send(link);
	if (!link->doomed)
		watch_engine(link);
	if (link->doomed || link->answered.first || (link->state == LINK_REPLAYING && has_replayed(link)))
		link_wake(link, 0.);
}

/* -- the states --------------------------------------------------------------------------------------------------- */

static enum link_event enter_dialling(struct link *link)
{
	char why[DIAL_WHY_SIZE];

	link->doomed = false;
	link->proved = false;
	link->verifier = (struct dial_verifier){ 0 };
	link->dialled_at = loop_now(link->loop);
	link->nbd = dial_begin(link->uri, link->session[0] ? link->session : NULL, verifier_of(link), why);
	if (!link->nbd) {
		link_doom(link, why);
		return LINK_LOST;
	}
	link_wake(link, LINK_DIAL_MS / 1e3);
	if (dial_step(link->nbd, link->uri, verifier_of(link), 0, why) == DIAL_DONE)
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
	struct command_pool pool = { link->commands, LINK_COMMANDS_MAX + LINK_AGAIN_MAX };

	/* libnbd may close its own socket now. */
	link_unwatch(link);
	link->engine = engine_new(link->nbd, link->uri, pool, &link->engine_owner);
	if (!link->engine) {
		link_doom(link, "out of memory or descriptors");
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
	link_replay_begin(link);
	link_send(link);
	if (link->doomed)
		return LINK_LOST;
	return has_replayed(link) ? LINK_REPLAYED : LINK_NOTHING;
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
	link_wake(link, LINK_DRAIN_MS / 1e3);
	return link_next_of_draining(link);
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

void link_hang_up(struct link *link)
{
	engine_free(link->engine);
	link->engine = NULL;
	nbd_close(link->nbd);
	link->nbd = NULL;
}

static enum link_event enter_down(struct link *link)
{
	link_unwatch(link);
	link_hang_up(link);
	link_replay_lose(link);
	command_list_join(&link->sent, &link->unsent);
	for (struct command *command = link->unsent.first; command; command = command->next)
		command_restart(command, &link->flats);
	link_end_recalled(link);
	link->backoff_ms = next_backoff_ms(
		link->backoff_ms, link->proved, 1e3 * (loop_now(link->loop) - link->dialled_at));
	link_wake(link, link->backoff_ms / 1e3);
	return LINK_NOTHING;
}

static enum link_event (*const link_enter[LINK_STATES])(struct link *link) = {
	[LINK_DOWN] = enter_down,
	[LINK_DIALLING] = enter_dialling,
	[LINK_REPLAYING] = enter_replaying,
	[LINK_READY] = enter_ready,
	[LINK_DRAINING] = enter_draining,
};

void link_handle(struct link *link, enum link_event event)
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
