/* server/session_receive.c -- receives: S1, S2. */
#include "server/session_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/container.h"

uint8_t *session_payload_rest(const struct session *session)
{
	const struct request *request = session->in.request;

	return buffer_data(request->buffer) + (request->command.payload - session->in.rest);
}

/* What is left in the buffer is less than a header, so moving it to the front is cheap. */
static void compact(struct session *session)
{
	size_t left = session->in.end - session->in.start;

	if (session->state != SESSION_OPEN)
		left = 0;
	else if (session->in.start > 0)
		memmove(session->in.bytes, session->in.bytes + session->in.start, left);
	session->in.start = 0;
	session->in.end = left;
}

static void put_bytes(struct session *session)
{
	if (session->in.full)
		buffer_put(&session->worker->buffers, session->in.full);
	else if (session->in.bytes)
		receive_pool_put(&session->worker->receives, session->in.bytes);
	session->in.full = NULL;
	session->in.bytes = NULL;
	session->in.start = session->in.end = 0;
}

/* Makes room for RECEIVE_BYTES, what waits included. Returns false without memory: then the session dies. */
static bool hold_full(struct session *session)
{
	size_t waiting = session->in.end - session->in.start;
	struct buffer *full;

	if (session->in.full)
		return true;
	full = buffer_get(&session->worker->buffers, RECEIVE_BYTES);
	if (!full) {
		session_kill(session, CLOSE_memory);
		return false;
	}
	if (waiting > 0)
		memcpy(buffer_data(full), session->in.bytes + session->in.start, waiting);
	put_bytes(session);
	session->in.full = full;
	session->in.bytes = buffer_data(full);
	session->in.end = waiting;
	return true;
}

static struct iovec receive_space(const struct session *session)
{
	return (struct iovec){ session->in.bytes + session->in.end, RECEIVE_BYTES - session->in.end };
}

bool session_decrypt(struct session *session)
{
	bool direct = session->in.request && session->in.request->buffer;
	struct iovec space;
	ssize_t got;

	if (!direct && !hold_full(session))
		return false;
	compact(session);
	space = direct ? (struct iovec){ session_payload_rest(session), session->in.rest }
		       : receive_space(session);
	got = tls_stream_read(session->tls, space.iov_base, space.iov_len);
	if (got > 0 && direct)
		session->in.rest -= (uint32_t)got;
	else if (got > 0)
		session->in.end += (size_t)got;
	else if (got == 0)
		session->in.ended = -ENODATA;
	else if (got != -EAGAIN)
		session->in.ended = (int)got;
	return got > 0;
}

/* The kernel may have taken a buffer for nothing. Returns @result; where there was no buffer, as if there had been nothing
 * to receive: the next receive brings its own. */
static int take_small(struct session *session, int result, unsigned flags)
{
	struct receive_pool *pool = &session->worker->receives;

	assert(!session->in.bytes && session->in.end == 0);
	session->in.small = false;
	if (flags & IORING_CQE_F_BUFFER)
		session->in.bytes = receive_pool_taken(pool, flags);
	if (result <= 0)
		put_bytes(session);
	if (result != -ENOBUFS)
		return result;
	receive_pool_grow(pool);
	session->in.little = false;
	return -EAGAIN;
}

static void on_received(struct uring_op *op, int result, unsigned flags)
{
	struct session *session = container_of(op, struct session, in.op);

	session->in.armed = false;
	session->in.more = flags & IORING_CQE_F_SOCK_NONEMPTY;
	if (session->in.small)
		result = take_small(session, result, flags);
	if (result < 0 && session->tls_by_kernel)
		result = tls_kernel_received(session->fd, result);
	if (result > 0 && session->tls) {
		if (session->state == SESSION_OPEN)
			tls_stream_received(session->tls, (size_t)result);
	} else if (result > 0) {
		size_t got = (size_t)result;
		size_t direct = got < session->in.direct ? got : session->in.direct;

		session->in.rest -= (uint32_t)direct;
		session->in.end += got - direct;
		session->in.little = got - direct < RECEIVE_SMALL;
	} else if (result == 0) {
		session->in.ended = -ENODATA;
	} else if (result != -EINTR && result != -EAGAIN && result != -ECANCELED) {
		session->in.ended = result;
	}
	session_wake(session);
}

/* A large payload is to be expected behind it, which then goes straight into its buffer. */
static bool expects_header_alone(const struct session *session)
{
	return session->in.bulk && session->state == SESSION_OPEN;
}

/* For what follows the bytes that wait. */
static struct iovec header_space(const struct session *session)
{
	struct iovec space = receive_space(session);

	if (expects_header_alone(session))
		space.iov_len = command_header_size(session->dialect.headers) - session->in.end;
	return space;
}

static bool receives_payload(const struct session *session)
{
	return session->in.request && session->in.request->buffer;
}

static bool receives_payload_alone(const struct session *session)
{
	return receives_payload(session) && session->in.rest >= RECEIVE_WHOLE_MIN;
}

/* For the receive that comes next: bytes of its own only where it will probably bring much. Returns false without memory. */
static bool choose_bytes(struct session *session)
{
	bool waiting = session->in.end > 0;

	session->in.small = !session->tls && !waiting && !session->in.request && session->in.little &&
			    receive_pool_exists(&session->worker->receives);
	if (!session->in.small && !session->tls && !receives_payload_alone(session))
		return hold_full(session);
	if (!waiting)
		put_bytes(session);
	return true;
}

/* Straight into the request's buffer, together with what follows where little is missing. */
static void prepare_payload(struct session *session, struct io_uring_sqe *sqe)
{
	session->in.direct = session->in.rest;
	if (receives_payload_alone(session)) {
		io_uring_prep_recv(
			sqe, session->fd, session_payload_rest(session), session->in.rest, session->in.whole);
		return;
	}
	session->in.iov[0] = (struct iovec){ session_payload_rest(session), session->in.rest };
	session->in.iov[1] = header_space(session);
	session->in.message = (struct msghdr){ .msg_iov = session->in.iov, .msg_iovlen = 2 };
	io_uring_prep_recvmsg(sqe, session->fd, &session->in.message, 0);
}

static void prepare_bytes(struct session *session, struct io_uring_sqe *sqe)
{
	struct iovec space = session->in.request ? receive_space(session) : header_space(session);

	io_uring_prep_recv(sqe, session->fd, space.iov_base, space.iov_len, 0);
}

static void prepare_small(struct session *session, struct io_uring_sqe *sqe)
{
	size_t header = command_header_size(session->dialect.headers);

	io_uring_prep_recv(sqe, session->fd, NULL, expects_header_alone(session) ? header : RECEIVE_SMALL, 0);
	receive_pool_use(sqe);
}

static void prepare_ciphertext(struct session *session, struct io_uring_sqe *sqe)
{
	struct iovec space;

	if (session->state != SESSION_OPEN)
		tls_stream_drop(session->tls); /* nobody takes it, and it may fill the stream's buffer */
	space = tls_stream_space(session->tls);
	io_uring_prep_recv(sqe, session->fd, space.iov_base, space.iov_len, 0);
}

void session_receive(struct session *session)
{
	struct io_uring_sqe *sqe;

	if (session->in.armed || session->in.stalled || session->in.ended)
		return;
	if (session->state != SESSION_OPEN && session->state != SESSION_LINGERING)
		return;
	compact(session);
	if (!choose_bytes(session))
		return;
	session->in.direct = 0;
	sqe = uring_sqe(&session->worker->ring, &session->in.op);
	if (session->tls)
		prepare_ciphertext(session, sqe);
	else if (receives_payload(session))
		prepare_payload(session, sqe);
	else if (session->in.small)
		prepare_small(session, sqe);
	else
		prepare_bytes(session, sqe);
	/* A client answers our replies with its next requests: a first try would find nothing. */
	if (!session->in.more)
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	session->in.armed = true;
}

static void on_cancelled(struct uring_op *op, int result, unsigned flags)
{
	struct session *session = container_of(op, struct session, cancel);

	(void)result;
	(void)flags;
	session->cancelling = false;
	session_wake(session);
}

void session_stop_receiving(struct session *session)
{
	if (!session->in.armed || session->cancelling)
		return;
	io_uring_prep_cancel(uring_sqe(&session->worker->ring, &session->cancel), &session->in.op, 0);
	session->cancelling = true;
}

void session_drop_partial(struct session *session)
{
	if (session->in.armed || !session->in.request)
		return;
	session_release(session, session->in.request);
	session->in.request = NULL;
}

/* AF_VSOCK refuses to wait for as much as its queue holds: ENOMEM. */
static int flag_for_whole(int fd)
{
	int family = AF_UNSPEC;
	socklen_t length = sizeof(family);

	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length);
	return family == AF_VSOCK ? 0 : MSG_WAITALL;
}

bool session_receive_init(struct session *session, const uint8_t *early, size_t early_length)
{
	assert(early_length <= RECEIVE_BYTES);
	session->in.little = true;
	session->in.op.done = on_received;
	session->in.whole = flag_for_whole(session->fd);
	session->cancel.done = on_cancelled;
	if (early_length == 0)
		return true;
	session->in.early = malloc(early_length);
	if (!session->in.early)
		return false;
	memcpy(session->in.early, early, early_length);
	session->in.early_length = early_length;
	return true;
}

void session_receive_begin(struct session *session)
{
	if (session->in.early_length == 0 || !hold_full(session))
		return;
	memcpy(session->in.bytes, session->in.early, session->in.early_length);
	session->in.end = session->in.early_length;
	free(session->in.early);
	session->in.early = NULL;
}

void session_receive_fini(struct session *session)
{
	put_bytes(session);
	free(session->in.early);
}
