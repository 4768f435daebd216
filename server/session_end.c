/* server/session_end.c -- how a session ends. */
#include "server/session_parts.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

static void die(struct session *session)
{
	struct request_list done;

	session->state = SESSION_DYING;
	session_withdraw_claim(session);
	close_report(session->reason, session->peer);
	/* Ends what is in the ring; where nothing is, close(2) lets the last replies leave. */
	if (session->in.armed || session->out.armed)
		shutdown(session->fd, SHUT_RDWR);
	request_list_init(&done);
	outbox_drop(&session->out.box, &done);
	if (!session->out.armed)
		outbox_clear(&session->out.box, &session->worker->buffers, &done);
	session_release_all(session, &done);
	session_faults_die(session);
	session_wake(session);
}

void session_kill(struct session *session, enum close_reason reason)
{
	if (session->state == SESSION_DYING)
		return;
	session->reason = reason;
	die(session);
}

void session_expel(struct session *session, enum close_reason reason)
{
	session_kill(session, reason);
	session_ban_ghosts(session);
}

void session_finish(struct session *session, enum close_reason reason)
{
	if (session->state != SESSION_OPEN)
		return;
	session->reason = reason;
	session->state = SESSION_FINISHING;
	session_withdraw_claim(session);
	worker_watch(session->worker);
	session->in.stalled = session->in.yielded = false;
	session_stop_receiving(session);
	session_wake(session);
}

/* Replies that the peer's kernel does not have yet, or requests that we have not read. Over a Unix socket the peer has
 * what was sent, and what the kernel counts is what it has not read. */
static bool is_something_on_the_way(const struct session *session)
{
	int unsent = 0, unread = 0, family = AF_UNSPEC;
	socklen_t length = sizeof(family);

	ioctl(session->fd, SIOCINQ, &unread);
	getsockopt(session->fd, SOL_SOCKET, SO_DOMAIN, &family, &length);
	if (family != AF_UNIX)
		ioctl(session->fd, SIOCOUTQ, &unsent);
	return unsent > 0 || unread > 0;
}

/* Closing a socket with requests unread would reset the connection and take back replies that are still on the way. So
 * a client that was cut short keeps being read, until its kernel has our replies and no requests are left; it may not look
 * at its connection for hours, and is not waited for. */
static void wind_up(struct session *session)
{
	if (session->reason == CLOSE_shutdown && is_something_on_the_way(session)) {
		session->state = SESSION_LINGERING;
		shutdown(session->fd, SHUT_WR);
	} else {
		die(session);
	}
}

void session_settle(struct session *session)
{
	if (session->state == SESSION_FINISHING || session->state == SESSION_DYING)
		session_drop_partial(session);
	if (session->credit > 0)
		session_return_credit(session);
	if (session->state == SESSION_FINISHING && session->requests == 0 && !session->out.armed &&
		!session->in.armed && !session_end_stream(session))
		wind_up(session);
	if (session->state == SESSION_LINGERING && session->in.ended)
		die(session);
	if (session->state == SESSION_LINGERING)
		session_receive(session);
}

/* Whether so many ticks are longer than a client may take for @bytes while others wait for memory. */
static bool is_stalled(unsigned ticks, size_t bytes)
{
	return (uint64_t)ticks * TICK_MS > 1000 * (HOLD_GRACE_S + (uint64_t)bytes / HOLD_BYTES_PER_S);
}

static bool is_holding_up(const struct session *session)
{
	const struct request *receiving = session->in.request;

	if (session->credit == 0 || !budget_is_wanted(session->worker->budget))
		return false;
	return (receiving && is_stalled(session->in.ticks, receiving->command.payload)) ||
	       (session->out.armed && is_stalled(session->out.ticks, SEND_BYTES_MAX));
}

/* "The server MUST handle all outstanding requests": it is the client that has a deadline, not the disk. */
static bool is_finishing_late(struct session *session)
{
	if (session->state != SESSION_FINISHING || session->reason == CLOSE_shutdown || session->on_disk > 0)
		return false;
	return ++session->ending_ticks > 1000 * FINISH_DEADLINE_S / TICK_MS;
}

bool session_tick(struct session *session)
{
	session->in.ticks++;
	session->out.ticks++;
	if (is_finishing_late(session))
		session_kill(session, CLOSE_finish_deadline);
	else if (is_holding_up(session))
		session_kill(session, CLOSE_hold_deadline);
	else if (session->state == SESSION_LINGERING && !is_something_on_the_way(session))
		die(session);
	return session->credit > 0 || session->claiming || session->state == SESSION_FINISHING ||
	       session->state == SESSION_LINGERING;
}
