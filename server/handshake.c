/* server/handshake.c -- a socket and a timer around a negotiation.
 *
 * The socket is in blocking mode, as the rings of the workers want it; here every call says MSG_DONTWAIT. */
#include "server/handshake.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/container.h"
#include "conf/log.h"
#include "server/limits.h"
#include "server/negotiation.h"
#include "server/session.h"

struct handshake {
	struct handshake *next, **link; /* in handshakes */
	struct handshakes *all;		/* borrowed: outlives its handshakes */
	int fd;				/* owned, until a session takes it */
	ev_io on_ready;
	ev_timer on_deadline;
	struct negotiation negotiation;
	size_t in_length;
	uint8_t in[NEGOTIATION_MESSAGE_MAX];
	char peer[ADDRESS_TEXT_SIZE];
};

static_assert(NEGOTIATION_MESSAGE_MAX <= RECEIVE_BYTES, "a session takes what is left in the buffer");

static void handshake_free(struct handshake *handshake)
{
	ev_io_stop(handshake->all->loop->ev, &handshake->on_ready);
	ev_timer_stop(handshake->all->loop->ev, &handshake->on_deadline);
	if (handshake->next)
		handshake->next->link = handshake->link;
	*handshake->link = handshake->next;
	handshake->all->count--;
	negotiation_fini(&handshake->negotiation);
	if (handshake->fd >= 0)
		close(handshake->fd);
	free(handshake);
}

static void handshake_close(struct handshake *handshake, enum close_reason reason)
{
	close_report(reason, handshake->peer);
	handshake_free(handshake);
}

static void hand_over(struct handshake *handshake)
{
	const struct negotiation *agreed = &handshake->negotiation;
	struct handshakes *all = handshake->all;
	struct session *session = session_new(handshake->fd, agreed->export, agreed->dialect, handshake->peer,
		handshake->in, handshake->in_length);

	handshake->fd = -1;
	if (!session) {
		handshake_close(handshake, CLOSE_memory);
		return;
	}
	handshake_free(handshake);
	all->ready(all, session);
}

static void wait_for(struct handshake *handshake, int events)
{
	if ((handshake->on_ready.events & (EV_READ | EV_WRITE)) == events)
		return;
	ev_io_stop(handshake->all->loop->ev, &handshake->on_ready);
	ev_io_set(&handshake->on_ready, handshake->fd, events);
	ev_io_start(handshake->all->loop->ev, &handshake->on_ready);
}

/* Returns 0 when all has left, -EAGAIN when the socket is full, or -errno. */
static int send_out(struct handshake *handshake)
{
	struct negotiation *negotiation = &handshake->negotiation;

	while (negotiation->out.length > 0) {
		ssize_t sent = send(handshake->fd, negotiation->out.bytes, negotiation->out.length,
			MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return -errno;
		negotiation_sent(negotiation, (size_t)sent);
	}
	return 0;
}

/* Returns whether a message was there. */
static bool feed(struct handshake *handshake)
{
	size_t used = negotiation_feed(&handshake->negotiation, handshake->in, handshake->in_length);

	handshake->in_length -= used;
	memmove(handshake->in, handshake->in + used, handshake->in_length);
	return used > 0;
}

/* One message at a time, each only when the reply to the last has left; may free @handshake. */
static void advance(struct handshake *handshake)
{
	struct negotiation *negotiation = &handshake->negotiation;
	int error;

	do {
		error = send_out(handshake);
		if (error == -EAGAIN) {
			wait_for(handshake, EV_WRITE);
			return;
		}
		/* A client may send NBD_OPT_ABORT and hang up without waiting for the reply. */
		if (negotiation->stage == NEGOTIATION_OVER) {
			handshake_close(handshake, negotiation->close);
			return;
		}
		if (error) {
			handshake_close(handshake, CLOSE_handshake_broken);
			return;
		}
		if (negotiation->stage == NEGOTIATION_TRANSMISSION) {
			hand_over(handshake);
			return;
		}
	} while (feed(handshake));
	wait_for(handshake, EV_READ);
}

static void on_readable(struct handshake *handshake)
{
	ssize_t got = recv(handshake->fd, handshake->in + handshake->in_length,
		sizeof(handshake->in) - handshake->in_length, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		handshake_close(handshake, got == 0 ? CLOSE_handshake_hangup : CLOSE_handshake_broken);
		return;
	}
	handshake->in_length += (size_t)got;
	advance(handshake);
}

static void on_ready(struct ev_loop *ev, ev_io *watcher, int events)
{
	struct handshake *handshake = watcher->data;

	(void)ev;
	loop_assert_mine(handshake->all->loop);
	if (events & EV_WRITE)
		advance(handshake);
	else
		on_readable(handshake);
}

static void on_deadline(struct ev_loop *ev, ev_timer *timer, int events)
{
	(void)ev;
	(void)events;
	handshake_close(timer->data, CLOSE_handshake_deadline);
}

static void link_into(struct handshakes *handshakes, struct handshake *handshake)
{
	handshake->all = handshakes;
	handshake->next = handshakes->first;
	handshake->link = &handshakes->first;
	if (handshake->next)
		handshake->next->link = &handshake->next;
	handshakes->first = handshake;
	handshakes->count++;
}

void handshake_start(struct handshakes *handshakes, int fd, const char *peer)
{
	struct handshake *handshake = malloc(sizeof(*handshake));

	if (!handshake) {
		close_report(CLOSE_memory, peer);
		close(fd);
		return;
	}
	link_into(handshakes, handshake);
	handshake->fd = fd;
	handshake->in_length = 0;
	snprintf(handshake->peer, sizeof(handshake->peer), "%s", peer);
	negotiation_init(&handshake->negotiation, handshakes->exports);
	ev_io_init(&handshake->on_ready, on_ready, fd, EV_READ);
	handshake->on_ready.data = handshake;
	ev_timer_init(&handshake->on_deadline, on_deadline, HANDSHAKE_DEADLINE_S, 0);
	handshake->on_deadline.data = handshake;
	ev_io_start(handshakes->loop->ev, &handshake->on_ready);
	ev_timer_start(handshakes->loop->ev, &handshake->on_deadline);
	log_debug("%s: connected", handshake->peer);
	advance(handshake);
}

void handshakes_init(struct handshakes *handshakes, struct loop *loop, const struct exports *exports,
	void (*ready)(struct handshakes *handshakes, struct session *session))
{
	*handshakes = (struct handshakes){ .loop = loop, .exports = exports, .ready = ready };
}

void handshakes_close(struct handshakes *handshakes, enum close_reason reason)
{
	struct handshake *next;

	for (struct handshake *handshake = handshakes->first; handshake; handshake = next) {
		next = handshake->next;
		handshake_close(handshake, reason);
	}
}
