/* server/session_send.c -- sends replies: S1, S2. */
#include "server/session_parts.h"

#include <errno.h>

#include "conf/container.h"

static void end_message(struct session *session)
{
	struct request_list done;

	request_list_init(&done);
	outbox_clear(&session->out.box, &session->worker->buffers, &done);
	session_release_all(session, &done);
}

/* As much of the message as the stream has room for. Returns whether ciphertext is there to be sent. */
static bool encrypt(struct session *session)
{
	struct msghdr *message = &session->out.box.message;

	while (message->msg_iovlen > 0) {
		ssize_t taken = tls_stream_write(session->tls, message->msg_iov, message->msg_iovlen);

		if (taken <= 0)
			break;
		outbox_advance(&session->out.box, (size_t)taken);
	}
	return tls_stream_out(session->tls).iov_len > 0;
}

static void send_ciphertext(struct session *session, int flags)
{
	struct iovec out = tls_stream_out(session->tls);
	struct io_uring_sqe *sqe = uring_sqe(&session->worker->ring, &session->out.op);

	io_uring_prep_send(sqe, session->fd, out.iov_base, out.iov_len, MSG_NOSIGNAL | flags);
	session->out.armed = true;
}

/* What a message holds it holds until the worker's next turn, which may be long after it has left: nothing that others wait
 * for. And it needs MSG_WAITALL. */
static bool may_be_quiet(const struct session *session)
{
	return !session->tls && !session->tls_by_kernel && session->state == SESSION_OPEN &&
	       session->credit == 0 && !session_has_faults(session) && !session->out.left.queued;
}

/* WAITALL: less than all is a failure, and so completes. DONTWAIT: it is known at the end of the submission. */
static void send_quietly(struct session *session)
{
	struct uring *ring = &session->worker->ring;
	struct io_uring_sqe *sqe = uring_sqe(ring, &session->out.op);

	io_uring_prep_sendmsg(
		sqe, session->fd, &session->out.box.message, MSG_NOSIGNAL | MSG_WAITALL | MSG_DONTWAIT);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	session->out.armed = session->out.quiet = true;
	uring_follow(ring, &session->out.left);
}

static void send_plain(struct session *session)
{
	struct io_uring_sqe *sqe = uring_sqe(&session->worker->ring, &session->out.op);

	/* WAITALL: the kernel goes on by itself when the socket has taken only a part. Its TLS knows no such flag. */
	io_uring_prep_sendmsg(sqe, session->fd, &session->out.box.message,
		MSG_NOSIGNAL | (session->tls_by_kernel ? 0 : MSG_WAITALL));
	session->out.armed = true;
}

static void send_message(struct session *session)
{
	if (!session->tls) {
		send_plain(session);
	} else if (encrypt(session)) {
		send_ciphertext(session, MSG_WAITALL);
	} else {
		session_kill(session, CLOSE_tls_broken);
		end_message(session);
	}
}

/* @sent bytes have left the ring. Returns whether something of the message is left. */
static bool advance_message(struct session *session, size_t sent)
{
	if (!session->tls)
		return outbox_advance(&session->out.box, sent);
	tls_stream_sent(session->tls, sent);
	return !session->tls_ended &&
	       (session->out.box.message.msg_iovlen > 0 || tls_stream_out(session->tls).iov_len > 0);
}

void session_send_replies(struct session *session)
{
	struct request_list done;
	size_t length;

	if (session->out.armed || session->state == SESSION_DYING)
		return;
	if (session_has_faults(session) && session_pack_odd(session)) {
		session->out.ticks = 0;
		send_message(session);
		return;
	}
	if (!outbox_is_waiting(&session->out.box))
		return;
	request_list_init(&done);
	session->out.ticks = 0;
	length = outbox_pack(&session->out.box, &session->worker->buffers, session->dialect.headers, &done);
	if (length == 0) {
		session_kill(session, CLOSE_memory);
		return;
	}
	session_release_all(session, &done);
	if (may_be_quiet(session))
		send_quietly(session);
	else
		send_message(session);
}

/* Or never will. */
static void message_left(struct session *session)
{
	end_message(session);
	if (session_has_faults(session))
		session_odd_sent(session);
	session_wake(session);
}

static void on_sent(struct uring_op *op, int result, unsigned flags)
{
	struct session *session = container_of(op, struct session, out.op);
	size_t sent = result > 0 ? (size_t)result : 0;

	(void)flags;
	session->out.armed = session->out.quiet = false;
	if (result < 0 && result != -EINTR && result != -EAGAIN)
		session_kill(session, session->tls_ended ? session->reason : CLOSE_broken);
	if (session->state != SESSION_DYING && advance_message(session, sent)) {
		send_message(session);
		return;
	}
	message_left(session);
}

static void on_left(struct uring_task *task)
{
	struct session *session = container_of(task, struct session, out.left);

	if (session->out.quiet) {
		session->out.armed = session->out.quiet = false;
		message_left(session);
	} else {
		session_wake(session);
	}
}

bool session_awaits_quiet_send(const struct session *session)
{
	return session->out.quiet &&
	       (session->state != SESSION_OPEN || !session->in.armed || outbox_is_waiting(&session->out.box));
}

bool session_end_stream(struct session *session)
{
	if ((!session->tls && !session->tls_by_kernel) || session->tls_ended)
		return false;
	session->tls_ended = true;
	if (session->tls_by_kernel) {
		tls_kernel_end(session->fd);
		return false;
	}
	tls_stream_end(session->tls);
	if (tls_stream_out(session->tls).iov_len == 0)
		return false;
	send_ciphertext(session, MSG_DONTWAIT);
	return true;
}

void session_send_init(struct session *session)
{
	session->out.op.done = on_sent;
	session->out.left.run = on_left;
	outbox_init(&session->out.box);
}
