/* server/handshake.c -- a socket and a timer around a negotiation.
 *
 * The socket is in blocking mode, as the rings of the workers want it; here every call says MSG_DONTWAIT. */
#include "server/handshake_parts.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/log.h"
#include "server/admission.h"
#include "server/limits.h"
#include "server/session.h"
#include "server/succession.h"
#include "server/tls_stream.h"

static_assert(NEGOTIATION_MESSAGE_MAX <= RECEIVE_BYTES, "a session takes what is left in the buffer");

static void handshake_free(struct handshake *handshake)
{
	ev_io_stop(handshake->all->loop->ev, &handshake->on_ready);
	ev_timer_stop(handshake->all->loop->ev, &handshake->on_deadline);
	ev_timer_stop(handshake->all->loop->ev, &handshake->fault.on_time);
	if (handshake->next)
		handshake->next->link = handshake->link;
	*handshake->link = handshake->next;
	negotiation_fini(&handshake->negotiation);
	identity_fini(&handshake->who);
	tls_stream_free(handshake->tls);
	if (handshake->succession)
		succession_forget(handshake->succession);
	if (handshake->fd >= 0)
		close(handshake->fd);
	if (handshake->origin)
		origin_leave(handshake->origin);
	free(handshake);
}

static void report_loss(struct handshakes *all)
{
	if (all->lost)
		all->lost(all);
}

ssize_t handshake_send_some(int fd, const struct iovec *bytes)
{
	ssize_t sent;

	do
		sent = send(fd, bytes->iov_base, bytes->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

void handshake_close(struct handshake *handshake, enum close_reason reason)
{
	struct handshakes *all = handshake->all;

	handshake_end_stream(handshake);
	close_report(reason, handshake->peer);
	handshake_free(handshake);
	report_loss(all);
}

static void hand_over(struct handshake *handshake)
{
	struct negotiation *agreed = &handshake->negotiation;
	struct handshakes *all = handshake->all;
	struct session *session;
	bool by_kernel;

	if (handshake_secure_by_kernel(handshake, &by_kernel)) {
		handshake_close(handshake, CLOSE_memory);
		return;
	}
	session = session_new(handshake->fd, agreed->export, agreed->dialect, handshake->peer, handshake->in,
		handshake->in_length);
	handshake->fd = -1;
	if (!session) {
		handshake_close(handshake, CLOSE_memory);
		return;
	}
	agreed->export = NULL;
	if (by_kernel)
		session_secure_by_kernel(session);
	else if (handshake->tls)
		session_secure(session, handshake->tls);
	session_belong(session, handshake->origin);
	session_identify(session, &handshake->who, handshake->number);
	session_descend(session, &agreed->lineage);
	handshake->tls = NULL;
	handshake->origin = NULL;
	handshake_free(handshake);
	all->ready(all, session);
}

static void on_alone(void *context)
{
	struct handshake *handshake = context;

	handshake->succession = NULL;
	if (handshake->succeeded)
		handshake_close(handshake, CLOSE_succeeded);
	else
		hand_over(handshake);
}

/* They end when their own wait is over: somebody may be going through the list just now. */
static void succeed_those_waiting(const struct handshake *heir)
{
	for (struct handshake *other = heir->all->first; other; other = other->next)
		if (other->succession && other->negotiation.export == heir->negotiation.export &&
			lineage_follows(&heir->negotiation.lineage, &other->negotiation.lineage))
			other->succeeded = true;
}

/* Served it is when those that it follows are gone; what the client sends meanwhile waits in the socket. */
static void take_over(struct handshake *handshake)
{
	const struct negotiation *agreed = &handshake->negotiation;
	struct handshakes *all = handshake->all;

	if (!all->successions || !agreed->lineage.identity) {
		hand_over(handshake);
		return;
	}
	succeed_those_waiting(handshake);
	ev_io_stop(all->loop->ev, &handshake->on_ready);
	handshake->succession =
		succession_start(all->successions, agreed->export, &agreed->lineage, on_alone, handshake);
	if (!handshake->succession)
		handshake_close(handshake, CLOSE_memory);
}

void handshake_wait_for(struct handshake *handshake, int events)
{
	if (ev_is_active(&handshake->on_ready) &&
		(handshake->on_ready.events & (EV_READ | EV_WRITE)) == events)
		return;
	ev_io_stop(handshake->all->loop->ev, &handshake->on_ready);
	ev_io_set(&handshake->on_ready, handshake->fd, events);
	ev_io_start(handshake->all->loop->ev, &handshake->on_ready);
}

struct iovec handshake_out(struct handshake *handshake)
{
	return (struct iovec){ handshake->negotiation.out.bytes, handshake->negotiation.out.length };
}

int handshake_send_out(struct handshake *handshake)
{
	struct iovec out;

	if (handshake->tls)
		return handshake_send_out_tls(handshake);
	while ((out = handshake_out(handshake)).iov_len > 0) {
		ssize_t sent = handshake_send_some(handshake->fd, &out);

		if (sent < 0)
			return (int)sent;
		negotiation_sent(&handshake->negotiation, (size_t)sent);
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

static enum close_reason reason_of(int error)
{
	if (error == -ENODATA)
		return CLOSE_handshake_hangup;
	return error == -EPROTO ? CLOSE_tls_broken : CLOSE_handshake_broken;
}

void handshake_advance(struct handshake *handshake)
{
	struct negotiation *negotiation = &handshake->negotiation;
	bool fed = false;
	int error;

	for (;;) {
		error = handshake_send_out(handshake);
		if (error == -EAGAIN) {
			handshake_wait_for(handshake, EV_WRITE);
			return;
		}
		/* A client may send NBD_OPT_ABORT and hang up without waiting for the reply. */
		if (negotiation->stage == NEGOTIATION_OVER) {
			handshake_close(handshake, negotiation->close);
			return;
		}
		if (error) {
			handshake_close(handshake, reason_of(error));
			return;
		}
		if (negotiation->stage == NEGOTIATION_TRANSMISSION) {
			take_over(handshake);
			return;
		}
		if (negotiation->stage == NEGOTIATION_STARTTLS) {
			/* What the handshake's end has left in out goes first. */
			if (handshake_secure(handshake))
				continue;
			return;
		}
		if (fed && handshake->in_length > 0) {
			handshake_wait_for(
				handshake, EV_WRITE); /* which comes at once, behind what else has come */
			return;
		}
		error = handshake->tls ? handshake_decrypt(handshake) : 0;
		fed = feed(handshake);
		if (!fed)
			break;
		if (!handshake->fault.judged) {
			handshake->fault.judged = true;
			if (handshake_meets_fault(handshake, FAULT_ON_handshake))
				return;
		}
	}
	if (error)
		handshake_close(handshake, reason_of(error));
	else
		handshake_wait_for(handshake, EV_READ);
}

static struct iovec receive_space(struct handshake *handshake)
{
	if (handshake->tls)
		return tls_stream_space(handshake->tls);
	return (struct iovec){ handshake->in + handshake->in_length,
		sizeof(handshake->in) - handshake->in_length };
}

static void on_readable(struct handshake *handshake)
{
	struct iovec space = receive_space(handshake);
	ssize_t got = recv(handshake->fd, space.iov_base, space.iov_len, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		handshake_close(handshake, got == 0 ? CLOSE_handshake_hangup : CLOSE_handshake_broken);
		return;
	}
	if (handshake->tls)
		tls_stream_received(handshake->tls, (size_t)got);
	else
		handshake->in_length += (size_t)got;
	if (handshake->fault.paused)
		handshake_take_in(handshake);
	else
		handshake_advance(handshake);
}

static void on_ready(struct ev_loop *ev, ev_io *watcher, int events)
{
	struct handshake *handshake = watcher->data;

	(void)ev;
	loop_assert_mine(handshake->all->loop);
	if (events & EV_WRITE)
		handshake_advance(handshake);
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
}

void handshake_start(struct handshakes *handshakes, int fd, const struct peer *peer, struct origin *origin)
{
	struct handshake *handshake = malloc(sizeof(*handshake));

	if (!handshake) {
		close_report(CLOSE_memory, peer->text);
		close(fd);
		origin_leave(origin);
		report_loss(handshakes);
		return;
	}
	link_into(handshakes, handshake);
	handshake->fd = fd;
	handshake->in_length = 0;
	handshake->origin = origin;
	handshake->tls = NULL;
	handshake->succession = NULL;
	handshake->succeeded = false;
	handshake->number = ++handshakes->count;
	handshake_faults_init(handshake);
	handshake->who = (struct identity){ .address = peer->address };
	snprintf(handshake->peer, sizeof(handshake->peer), "%s", peer->text);
	negotiation_init(&handshake->negotiation, handshakes->exports);
	handshake->negotiation.tls = handshakes->tls->settings.mode;
	handshake->negotiation.who = &handshake->who;
	ev_io_init(&handshake->on_ready, on_ready, fd, EV_READ);
	handshake->on_ready.data = handshake;
	ev_timer_init(&handshake->on_deadline, on_deadline, handshakes->deadline_s, 0);
	handshake->on_deadline.data = handshake;
	ev_io_start(handshakes->loop->ev, &handshake->on_ready);
	ev_timer_start(handshakes->loop->ev, &handshake->on_deadline);
	log_debug("%s: connection %" PRIu64, handshake->peer, handshake->number);
	if (!handshake_meets_fault(handshake, FAULT_ON_accept))
		handshake_advance(handshake);
}

void handshakes_init(struct handshakes *handshakes, struct loop *loop, const struct exports *exports,
	const struct tls *tls, unsigned deadline_s,
	void (*ready)(struct handshakes *handshakes, struct session *session))
{
	*handshakes = (struct handshakes){
		.loop = loop, .exports = exports, .tls = tls, .deadline_s = deadline_s, .ready = ready
	};
}

void handshakes_expel(struct handshakes *handshakes, const struct export *export, enum close_reason reason)
{
	struct handshake *next;

	for (struct handshake *handshake = handshakes->first; handshake; handshake = next) {
		next = handshake->next;
		if (negotiation_concerns(&handshake->negotiation, export))
			handshake_close(handshake, reason);
	}
}

void handshakes_close(struct handshakes *handshakes, enum close_reason reason)
{
	struct handshake *next;

	for (struct handshake *handshake = handshakes->first; handshake; handshake = next) {
		next = handshake->next;
		handshake_close(handshake, reason);
	}
}
