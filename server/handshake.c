/* server/handshake.c -- a socket and a timer around a negotiation, and TLS between the two once it was asked for.
 *
 * The socket is in blocking mode, as the rings of the workers want it; here every call says MSG_DONTWAIT. */
#include "server/handshake.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/container.h"
#include "conf/log.h"
#include "server/admission.h"
#include "server/fault.h"
#include "server/limits.h"
#include "server/negotiation.h"
#include "server/session.h"
#include "server/succession.h"
#include "server/tls_kernel.h"
#include "server/tls_stream.h"

struct handshake {
	struct handshake *next, **link; /* in handshakes */
	struct handshakes *all;		/* borrowed: outlives its handshakes */
	int fd;				/* owned, until a session takes it */
	ev_io on_ready;
	struct origin *origin; /* owned: our place in it, until a session takes it */
	ev_timer on_deadline;
	struct negotiation negotiation;
	struct identity who;
	struct tls_stream *tls; /* owned, until a session takes it; NULL: plain */
	size_t in_length;	/* plaintext */
	uint8_t in[NEGOTIATION_MESSAGE_MAX];
	uint64_t number;	       /* of the connection */
	struct succession *succession; /* borrowed: while those that it follows end; NULL: it does not wait */
	bool succeeded;		       /* waiting, it is followed by another already */
	/* What fault rules have to do with it. */
	struct {
		struct fault_verdict verdict;
		bool paused; /* nothing is said, and what comes waits */
		bool judged; /* in the handshake, too */
		ev_timer on_time;
	} fault;
	char peer[ADDRESS_TEXT_SIZE];
};

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

static void handshake_close(struct handshake *handshake, enum close_reason reason)
{
	struct handshakes *all = handshake->all;

	close_report(reason, handshake->peer);
	handshake_free(handshake);
	report_loss(all);
}

/* The kernel goes on with the stream, where it can. Returns 0 with @taken, or -errno: the connection is lost. */
static int secure_by_kernel(struct handshake *handshake, bool *taken)
{
	int error;

	*taken = false;
	if (!handshake->tls || !handshake->all->tls->by_kernel)
		return 0;
	error = tls_kernel_take(handshake->tls, handshake->fd, taken);
	if (error)
		return error;
	tls_stream_by_record(handshake->tls, false);
	if (*taken) {
		tls_stream_free(handshake->tls);
		handshake->tls = NULL;
	}
	return 0;
}

static void hand_over(struct handshake *handshake)
{
	struct negotiation *agreed = &handshake->negotiation;
	struct handshakes *all = handshake->all;
	struct session *session;
	bool by_kernel;

	if (secure_by_kernel(handshake, &by_kernel)) {
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

static void wait_for(struct handshake *handshake, int events)
{
	if ((handshake->on_ready.events & (EV_READ | EV_WRITE)) == events)
		return;
	ev_io_stop(handshake->all->loop->ev, &handshake->on_ready);
	ev_io_set(&handshake->on_ready, handshake->fd, events);
	ev_io_start(handshake->all->loop->ev, &handshake->on_ready);
}

/* Returns bytes sent, or -errno. */
static ssize_t send_some(int fd, const struct iovec *bytes)
{
	ssize_t sent;

	do
		sent = send(fd, bytes->iov_base, bytes->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : sent;
}

static struct iovec negotiation_out(struct handshake *handshake)
{
	return (struct iovec){ handshake->negotiation.out.bytes, handshake->negotiation.out.length };
}

/* Moves the negotiation's bytes into the stream, and the stream's into the socket. Returns as send_out(). */
static int send_out_tls(struct handshake *handshake)
{
	struct iovec plain, out;

	for (;;) {
		ssize_t moved;

		plain = negotiation_out(handshake);
		moved = plain.iov_len > 0 ? tls_stream_write(handshake->tls, &plain, 1) : 0;
		if (moved < 0)
			return (int)moved;
		negotiation_sent(&handshake->negotiation, (size_t)moved);
		if (moved > 0)
			continue;
		out = tls_stream_out(handshake->tls);
		if (out.iov_len == 0)
			return 0;
		moved = send_some(handshake->fd, &out);
		if (moved < 0)
			return (int)moved;
		tls_stream_sent(handshake->tls, (size_t)moved);
	}
}

/* Returns 0 when all has left, -EAGAIN when the socket is full, or -errno. */
static int send_out(struct handshake *handshake)
{
	struct iovec out;

	if (handshake->tls)
		return send_out_tls(handshake);
	while ((out = negotiation_out(handshake)).iov_len > 0) {
		ssize_t sent = send_some(handshake->fd, &out);

		if (sent < 0)
			return (int)sent;
		negotiation_sent(&handshake->negotiation, (size_t)sent);
	}
	return 0;
}

/* TLS. */

/* The ACK to NBD_OPT_STARTTLS has left: what comes now is TLS. Returns 0, or -1: closed. */
static int begin_tls(struct handshake *handshake)
{
	/* Somebody in between may have put it there, to be obeyed as if it had come through TLS. */
	if (handshake->in_length > 0) {
		handshake_close(handshake, CLOSE_tls_injection);
		return -1;
	}
	handshake->tls = tls_stream_new(handshake->all->tls->credentials);
	if (handshake->tls) {
		tls_stream_by_record(handshake->tls, handshake->all->tls->by_kernel);
		return 0;
	}
	handshake_close(handshake, CLOSE_memory);
	return -1;
}

/* Returns whether it is over: the negotiation goes on in TLS. May free @handshake. */
static bool secure(struct handshake *handshake)
{
	const char *why;
	int error;

	if (!handshake->tls && begin_tls(handshake))
		return false;
	error = tls_stream_handshake(handshake->tls, &handshake->who, &why);
	if (error == 0) {
		negotiation_secured(&handshake->negotiation);
		return true;
	}
	/* Its next part, or the alert, which leaves if the socket takes it. */
	send_out(handshake);
	if (error == -EAGAIN) {
		wait_for(handshake, tls_stream_out(handshake->tls).iov_len > 0 ? EV_WRITE : EV_READ);
	} else {
		log_debug("%s: TLS: %s", handshake->peer, why);
		handshake_close(handshake, CLOSE_tls_handshake);
	}
	return false;
}

/* Takes plaintext from the stream, as far as there is room for it. Returns 0, also where there is none, or -errno;
 * -ENODATA: the client has ended the stream. */
static int decrypt(struct handshake *handshake)
{
	while (handshake->in_length < sizeof(handshake->in)) {
		ssize_t got = tls_stream_read(handshake->tls, handshake->in + handshake->in_length,
			sizeof(handshake->in) - handshake->in_length);

		if (got == -EAGAIN)
			break;
		if (got <= 0)
			return got == 0 ? -ENODATA : (int)got;
		handshake->in_length += (size_t)got;
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

/* Faults. */

static void advance(struct handshake *handshake);

/* Nothing more is said, for as long as it takes. */
static void pause_for_fault(struct handshake *handshake)
{
	handshake->fault.paused = true;
	ev_timer_stop(handshake->all->loop->ev, &handshake->on_deadline);
	wait_for(handshake, EV_READ);
}

static void resume(struct handshake *handshake)
{
	handshake->fault.paused = false;
	ev_timer_set(&handshake->on_deadline, handshake->all->deadline_s, 0);
	ev_timer_start(handshake->all->loop->ev, &handshake->on_deadline);
	wait_for(handshake, EV_READ);
	advance(handshake);
}

static bool is_held(const struct handshake *handshake)
{
	const struct fault_verdict *verdict = &handshake->fault.verdict;

	return verdict->reply.action == FAULT_DO_hold &&
	       fault_set_holds(handshake->all->faults, verdict->reply.id, verdict->ticket);
}

/* After its time. Returns whether the handshake stops here, or has ended. */
static bool suffer(struct handshake *handshake)
{
	const struct fault_verdict *verdict = &handshake->fault.verdict;

	if (verdict->reply.action == FAULT_DO_close) {
		handshake_close(handshake, CLOSE_fault);
		return true;
	}
	if (verdict->data.action != FAULT_DO_blackhole && !is_held(handshake))
		return false;
	pause_for_fault(handshake);
	return true;
}

static void on_fault_time(struct ev_loop *ev, ev_timer *timer, int events)
{
	struct handshake *handshake = timer->data;

	(void)ev;
	(void)events;
	if (!suffer(handshake))
		resume(handshake);
}

static enum nbd_option_error refusal_of(const struct fault_verdict *verdict)
{
	return verdict->data.action == FAULT_DO_refuse ? (enum nbd_option_error)verdict->data.arguments[0]
						       : 0;
}

/* Returns whether the handshake stops here, or has ended, because a rule for @operation wants it. */
static bool meets_fault(struct handshake *handshake, enum fault_operation operation)
{
	struct fault_set *faults = handshake->all->faults;
	struct fault_event event = {
		.operation = operation,
		.peer = handshake->peer,
		.who = &handshake->who,
		.connection = handshake->number,
	};

	if (!faults || !fault_set_is_armed(faults))
		return false;
	event.now_ns = fault_now_ns();
	if (!fault_set_judge(faults, &event, NULL, NULL, &handshake->fault.verdict))
		return false;
	handshake->negotiation.refusal = refusal_of(&handshake->fault.verdict);
	if (handshake->fault.verdict.delay_ns == 0)
		return suffer(handshake);
	pause_for_fault(handshake);
	ev_timer_set(&handshake->fault.on_time, (double)handshake->fault.verdict.delay_ns / 1e9, 0);
	ev_timer_start(handshake->all->loop->ev, &handshake->fault.on_time);
	return true;
}

/* What a client that is held up says waits as far as there is room; a black hole swallows it. */
static void take_in(struct handshake *handshake)
{
	if (handshake->fault.verdict.data.action == FAULT_DO_blackhole)
		handshake->in_length = 0;
	if (handshake->in_length == sizeof(handshake->in))
		ev_io_stop(handshake->all->loop->ev, &handshake->on_ready);
}

static bool is_delayed(const struct handshake *handshake)
{
	return ev_is_active(&handshake->fault.on_time) &&
	       fault_set_holds(handshake->all->faults, handshake->fault.verdict.delay_id, UINT64_MAX);
}

static bool is_swallowed(const struct handshake *handshake)
{
	const struct fault_effect *data = &handshake->fault.verdict.data;

	return data->action == FAULT_DO_blackhole &&
	       fault_set_holds(handshake->all->faults, data->id, UINT64_MAX);
}

void handshakes_look_at_faults(struct handshakes *handshakes)
{
	struct handshake *next;

	for (struct handshake *handshake = handshakes->first; handshake; handshake = next) {
		next = handshake->next;
		if (!handshake->fault.paused || is_delayed(handshake) || is_held(handshake) ||
			is_swallowed(handshake))
			continue;
		ev_timer_stop(handshakes->loop->ev, &handshake->fault.on_time);
		resume(handshake);
	}
}

/* One message at a time, each only when the reply to the last has left; may free @handshake. */
static void advance(struct handshake *handshake)
{
	struct negotiation *negotiation = &handshake->negotiation;
	int error;

	for (;;) {
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
			handshake_close(handshake, reason_of(error));
			return;
		}
		if (negotiation->stage == NEGOTIATION_TRANSMISSION) {
			take_over(handshake);
			return;
		}
		if (negotiation->stage == NEGOTIATION_STARTTLS) {
			/* What the handshake's end has left in out goes first. */
			if (secure(handshake))
				continue;
			return;
		}
		error = handshake->tls ? decrypt(handshake) : 0;
		if (!feed(handshake))
			break;
		if (!handshake->fault.judged) {
			handshake->fault.judged = true;
			if (meets_fault(handshake, FAULT_ON_handshake))
				return;
		}
	}
	if (error)
		handshake_close(handshake, reason_of(error));
	else
		wait_for(handshake, EV_READ);
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
		take_in(handshake);
	else
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
	handshake->fault.paused = handshake->fault.judged = false;
	ev_timer_init(&handshake->fault.on_time, on_fault_time, 0, 0);
	handshake->fault.on_time.data = handshake;
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
	if (!meets_fault(handshake, FAULT_ON_accept))
		advance(handshake);
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
