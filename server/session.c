/* server/session.c -- receives, parses, submits, replies; all of it begun in one place, session_turn().
 *
 * S1  At most one receive and one send of a session are in the ring, so the stream keeps its order.
 * S2  A buffer that the ring or the disk may still touch is not released: the payload being received until the receive
 *     has ended, the data of replies until their send has ended, a request on the disk until it is done.
 * S3  A request is in exactly one place: being received (in.request), on the disk (counted in on_disk), or in out.box.
 *     requests counts all of them.
 * S4  A session is freed only in DYING, by session_turn(), when nothing of it is in the ring, on the disk or
 *     queued for the end of the turn, and no claim waits.
 * S5  bytes are at most CONNECTION_RESERVE and credit.
 *
 * With TLS the ring moves ciphertext between the socket and the stream's buffers; requests are parsed from what the stream
 * decrypts, and the outbox's message is encrypted a buffer at a time. Nothing else differs. */
#include "server/session.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/address.h"
#include "conf/container.h"
#include "conf/log.h"
#include "server/admission.h"
#include "server/extents.h"
#include "server/limits.h"
#include "server/outbox.h"
#include "server/tls_stream.h"
#include "server/worker.h"

/*  OPEN --disconnect, hangup, drain--> FINISHING --all answered--> DYING --idle--> freed
 *    |                                     |  \--drained, replies on the way--> LINGERING --arrived--^
 *    +---- broken, bad request ------------+----------- also from LINGERING -------^             */
enum session_state { SESSION_OPEN, SESSION_FINISHING, SESSION_LINGERING, SESSION_DYING };

struct session {
	struct session *next, **link; /* in the worker's list */
	struct worker *worker;	      /* borrowed: ends after its sessions */
	struct export *export;	      /* owned: a reference */
	int fd;			      /* owned */
	struct origin *origin;	      /* owned: our place in it */
	struct tls_stream *tls;	      /* owned; NULL: plain */
	bool tls_ended;		      /* its last record is written */
	struct dialect dialect;
	enum session_state state;
	enum close_reason reason; /* from FINISHING on */
	struct uring_task turn;
	struct mail arrival;
	struct uring_op cancel; /* of the receive */
	struct uring_op pause;	/* between two turns */
	bool cancelling, pausing;

	unsigned requests, on_disk;
	size_t bytes;  /* buffers of all requests, up to CONNECTION_BYTES_MAX */
	size_t credit; /* of the server's memory: how many of them there may be beyond CONNECTION_RESERVE */
	bool claiming; /* the claim waits, or its letter is on the way */
	struct claim claim;
	unsigned ending_ticks; /* in FINISHING */
	size_t turn_bytes;     /* data of those begun in this turn, up to TURN_BYTES_MAX */

	struct {
		struct uring_op op;
		bool armed;
		bool stalled;	/* what waits in bytes finds no room: do not receive */
		bool more;	/* the socket had more: do not poll first */
		int whole;	/* MSG_WAITALL, or 0 */
		bool bulk;	/* large payloads are coming: receive a header alone */
		int ended;	/* 0, or the end of the stream as -errno; -ENODATA: in order */
		uint8_t *bytes; /* owned: RECEIVE_BYTES */
		size_t start, end;
		struct request
			*request; /* its payload is being received; without a buffer it is thrown away */
		uint32_t rest;	  /* bytes of that payload still to come */
		unsigned ticks;	  /* since its header came */
		size_t direct;	  /* the receive's first bytes that go to that payload's buffer */
		struct iovec iov[2];
		struct msghdr message;
	} in;

	struct {
		struct uring_op op;
		bool armed;
		unsigned ticks; /* since the message was packed */
		struct outbox box;
	} out;

	char peer[ADDRESS_TEXT_SIZE];
};

static void wake(struct session *session)
{
	uring_defer(&session->worker->ring, &session->turn);
}

/* Requests. */

static void drop_data(struct session *session, struct request *request)
{
	if (!request->buffer)
		return;
	buffer_put(&session->worker->buffers, request->buffer);
	request->buffer = NULL;
	session->bytes -= buffer_size(request->held);
}

static void release(struct session *session, struct request *request)
{
	drop_data(session, request);
	request_put(&session->worker->requests, request);
	session->requests--;
}

static void release_all(struct session *session, struct request_list *list)
{
	struct request *request;

	while ((request = request_list_take(list)))
		release(session, request);
}

static void answer(struct session *session, struct request *request, int status)
{
	request->stage = REQUEST_REPLYING;
	request->status = status;
	if (session->state == SESSION_DYING) {
		release(session, request);
		return;
	}
	if (!reply_has_data(request))
		drop_data(session, request);
	outbox_add(&session->out.box, request);
}

static void finish_on_disk(struct session *session, struct request *request, int status)
{
	session->on_disk--;
	/* "The server SHOULD NOT return NBD_ENOTSUP except [for] NBD_CMD_FLAG_FAST_ZERO". */
	if (status == -ENOTSUP && !(request->command.flags & NBD_CMD_FLAG_FAST_ZERO))
		status = -EIO;
	if (status == 0 && request->block.op == BLOCK_STATUS)
		extents_encode(&request->block, session->dialect.headers);
	answer(session, request, status);
}

static void on_done(struct block_req *block, int status)
{
	struct request *request = request_of(block);
	struct session *session = request->session;

	finish_on_disk(session, request, status);
	wake(session);
}

/* Everything but range and flags, which command_check() wrote. */
static int submit_block(struct session *session, struct request *request)
{
	struct block_req *block = &request->block;
	struct disk *disk = session->export->disk;

	block->done = on_done;
	block->ring = &session->worker->ring;
	block->iov = &request->iov;
	block->iov_count = 0;
	if (block->op == BLOCK_STATUS) {
		block->extents.list = (struct block_extent *)buffer_data(request->buffer);
		block->extents.max = (unsigned)(request->held / sizeof(struct block_extent));
		return disk_status(disk, block);
	}
	if (request->buffer) {
		request->iov = (struct iovec){ buffer_data(request->buffer), request->held };
		block->iov_count = 1;
	}
	return disk_submit(disk, block);
}

static void submit(struct session *session, struct request *request)
{
	int status;

	request->stage = REQUEST_ON_DISK;
	session->on_disk++;
	status = submit_block(session, request);
	if (status != DISK_PENDING)
		finish_on_disk(session, request, status);
}

/* Returns whether there is anything to be asked of the disk. */
static bool take_contexts(struct session *session, struct request *request)
{
	bool asks = false;

	request->block.extents.count = 0;
	request->status = command_check_contexts(&request->command, &session->export->disk->facts,
		buffer_data(request->buffer), &request->block, &asks, &request->why);
	return asks;
}

/* Its header and payload, if any, are here. */
static void start(struct session *session, struct request *request)
{
	bool asks = true;

	if (request->status == 0 && command_names_contexts(&request->command))
		asks = take_contexts(session, request);
	if (request->status || !asks)
		answer(session, request, request->status);
	else
		submit(session, request);
}

/* Receiving. */

/* Bytes of data that @command will hold, if it is valid at all. */
static size_t data_wanted(const struct session *session, const struct command *command)
{
	bool moves_data = command->type == NBD_CMD_READ || command->type == NBD_CMD_WRITE;

	if (command->type == NBD_CMD_BLOCK_STATUS && session->dialect.allocation)
		return STATUS_EXTENTS_MAX * sizeof(struct block_extent);
	return moves_data && command->length <= session->export->disk->facts.data_max ? command->length : 0;
}

/* How much of the server's memory @bytes need. */
static size_t credit_for(size_t bytes)
{
	size_t beyond = bytes > CONNECTION_RESERVE ? bytes - CONNECTION_RESERVE : 0;

	return (beyond + MEMORY_STEP - 1) / MEMORY_STEP * MEMORY_STEP;
}

/* Returns whether there may be @bytes; if not, a letter tells when. */
static bool has_memory(struct session *session, size_t bytes)
{
	size_t needed = credit_for(bytes);

	if (needed <= session->credit)
		return true;
	if (session->claiming)
		return false;
	worker_watch(session->worker);
	if (!budget_take(session->worker->budget, &session->claim, needed - session->credit)) {
		session->claiming = true;
		return false;
	}
	session->credit = needed;
	return true;
}

static void on_granted(struct mail *mail)
{
	struct session *session = container_of(mail, struct session, claim.granted);

	session->claiming = false;
	session->credit += session->claim.bytes;
	wake(session);
}

static void withdraw_claim(struct session *session)
{
	if (session->claiming && budget_withdraw(session->worker->budget, &session->claim))
		session->claiming = false;
}

/* What is not needed any more is for others. */
static void return_credit(struct session *session)
{
	size_t needed = credit_for(session->bytes);

	if (session->credit <= needed)
		return;
	budget_give(session->worker->budget, session->credit - needed);
	session->credit = needed;
}

static bool has_room(struct session *session, size_t wanted)
{
	size_t size = wanted > 0 ? buffer_size(wanted) : 0;

	if (session->requests >= CONNECTION_REQUESTS_MAX)
		return false;
	if (session->bytes > 0 && session->bytes + size > CONNECTION_BYTES_MAX)
		return false;
	return has_memory(session, session->bytes + size);
}

static bool has_turn(const struct session *session, size_t wanted)
{
	return session->turn_bytes == 0 || session->turn_bytes + wanted <= TURN_BYTES_MAX;
}

/* Go on in the next turn. Nothing else may bring it about: the disk may have answered all at once, and the send wait for a
 * client that reads no reply before it has sent all its requests. */
static void pause_turn(struct session *session)
{
	if (session->pausing)
		return;
	io_uring_prep_nop(uring_sqe(&session->worker->ring, &session->pause));
	session->pausing = true;
}

static void on_paused(struct uring_op *op, int result, unsigned flags)
{
	struct session *session = container_of(op, struct session, pause);

	(void)result;
	(void)flags;
	session->pausing = false;
	wake(session);
}

static void take_buffer(struct session *session, struct request *request, size_t wanted)
{
	request->buffer = buffer_get(&session->worker->buffers, wanted);
	if (!request->buffer) {
		request->status = -ENOMEM;
		return;
	}
	request->held = wanted;
	session->bytes += buffer_size(wanted);
	session->turn_bytes += wanted;
}

/* Beyond the end that was: the disk may have grown. */
static int check(struct session *session, struct request *request)
{
	const struct command *command = &request->command;
	struct disk *disk = session->export->disk;

	uint64_t size = disk->facts.size;

	if (command->offset > size || command->length > size - command->offset)
		disk_measure(disk);
	return command_check(command, &disk->facts, session->dialect, &request->block, &request->why);
}

static bool begin(struct session *session, const struct command *command, size_t wanted)
{
	struct request *request = request_get(&session->worker->requests);

	if (!request) {
		session_kill(session, CLOSE_memory);
		return false;
	}
	session->requests++;
	request->session = session;
	request->command = *command;
	request->stage = REQUEST_RECEIVING;
	request->status = check(session, request);
	if (request->status == 0 && wanted > 0)
		take_buffer(session, request, wanted);
	session->in.bulk = command->payload >= RECEIVE_BULK_MIN;
	if (command->payload > 0) {
		session->in.request = request;
		session->in.ticks = 0;
		session->in.rest = (uint32_t)command->payload;
	} else {
		start(session, request);
	}
	return true;
}

/* "A server SHOULD initiate hard disconnect if a client sets the NBD_CMD_FLAG_PAYLOAD_LEN flag and uses a length larger
 * than [the] maximum payload length".  A compact write has no flag, and 4 GiB at most. */
static bool is_payload_excessive(const struct session *session, const struct command *command)
{
	return session->dialect.headers == HEADERS_EXTENDED &&
	       command->payload > session->export->disk->facts.data_max;
}

/* Returns whether the stream goes on behind the header. */
static bool take_header(struct session *session)
{
	size_t wanted, header = command_header_size(session->dialect.headers);
	struct command command;

	if (session->in.end - session->in.start < header)
		return false;
	if (command_parse(session->in.bytes + session->in.start, session->dialect.headers, &command)) {
		session_kill(session, CLOSE_request_magic);
		return false;
	}
	if (command.type == NBD_CMD_DISC) {
		session_finish(session, CLOSE_disconnect);
		return false;
	}
	if (is_payload_excessive(session, &command)) {
		session_kill(session, CLOSE_payload_length);
		return false;
	}
	wanted = data_wanted(session, &command);
	if (!has_room(session, wanted)) {
		session->in.stalled = true;
		return false;
	}
	if (!has_turn(session, wanted)) {
		session->in.stalled = true;
		if (session->on_disk == 0)
			pause_turn(session);
		return false;
	}
	session->in.start += header;
	return begin(session, &command, wanted);
}

static uint8_t *payload_rest(const struct session *session)
{
	const struct request *request = session->in.request;

	return buffer_data(request->buffer) + (request->command.payload - session->in.rest);
}

/* Returns whether the payload is complete. */
static bool take_payload(struct session *session)
{
	struct request *request = session->in.request;
	size_t here = session->in.end - session->in.start;

	if (here > session->in.rest)
		here = session->in.rest;
	if (request->buffer)
		memcpy(payload_rest(session), session->in.bytes + session->in.start, here);
	session->in.start += here;
	session->in.rest -= (uint32_t)here;
	if (session->in.rest > 0)
		return false;
	session->in.request = NULL;
	start(session, request);
	return true;
}

/* The client hung up: what it asked before is still carried out and answered. */
static void take_end(struct session *session)
{
	bool in_order = session->in.start == session->in.end && !session->in.request;

	if (session->in.ended != -ENODATA)
		session_kill(session, session->in.ended == -EPROTO ? CLOSE_tls_broken : CLOSE_broken);
	else
		session_finish(session, in_order ? CLOSE_hangup : CLOSE_cut_off);
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

static struct iovec receive_space(const struct session *session)
{
	return (struct iovec){ session->in.bytes + session->in.end, RECEIVE_BYTES - session->in.end };
}

/* Straight into the request's buffer, or behind the bytes that wait. Returns whether the stream had anything. */
static bool decrypt(struct session *session)
{
	bool direct = session->in.request && session->in.request->buffer;
	struct iovec space;
	ssize_t got;

	compact(session);
	space = direct ? (struct iovec){ payload_rest(session), session->in.rest } : receive_space(session);
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

static void take_requests(struct session *session)
{
	bool goes_on = true;

	/* While a receive is armed, the payload it brings is not ours to touch. */
	if (session->in.armed)
		return;
	session->in.stalled = false;
	session->turn_bytes = 0;
	while (goes_on && session->state == SESSION_OPEN) {
		goes_on = session->in.request ? take_payload(session) : take_header(session);
		if (!goes_on && session->tls && session->state == SESSION_OPEN && !session->in.stalled)
			goes_on = decrypt(session);
	}
	if (session->state == SESSION_OPEN && session->in.ended && !session->in.stalled)
		take_end(session);
}

static void on_received(struct uring_op *op, int result, unsigned flags)
{
	struct session *session = container_of(op, struct session, in.op);

	session->in.armed = false;
	session->in.more = flags & IORING_CQE_F_SOCK_NONEMPTY;
	if (result > 0 && session->tls) {
		if (session->state == SESSION_OPEN)
			tls_stream_received(session->tls, (size_t)result);
	} else if (result > 0) {
		size_t got = (size_t)result;
		size_t direct = got < session->in.direct ? got : session->in.direct;

		session->in.rest -= (uint32_t)direct;
		session->in.end += got - direct;
	} else if (result == 0) {
		session->in.ended = -ENODATA;
	} else if (result != -EINTR && result != -EAGAIN && result != -ECANCELED) {
		session->in.ended = result;
	}
	wake(session);
}

/* For what follows the bytes that wait: the rest of a header alone where a large payload is to be expected behind it, so that
 * it goes straight into its buffer. */
static struct iovec header_space(const struct session *session)
{
	struct iovec space = receive_space(session);

	if (session->in.bulk && session->state == SESSION_OPEN)
		space.iov_len = command_header_size(session->dialect.headers) - session->in.end;
	return space;
}

/* Straight into the request's buffer, together with what follows where little is missing. */
static void prepare_payload(struct session *session, struct io_uring_sqe *sqe)
{
	session->in.direct = session->in.rest;
	if (session->in.rest >= RECEIVE_WHOLE_MIN) {
		io_uring_prep_recv(
			sqe, session->fd, payload_rest(session), session->in.rest, session->in.whole);
		return;
	}
	session->in.iov[0] = (struct iovec){ payload_rest(session), session->in.rest };
	session->in.iov[1] = header_space(session);
	session->in.message = (struct msghdr){ .msg_iov = session->in.iov, .msg_iovlen = 2 };
	io_uring_prep_recvmsg(sqe, session->fd, &session->in.message, 0);
}

static void prepare_bytes(struct session *session, struct io_uring_sqe *sqe)
{
	struct iovec space = session->in.request ? receive_space(session) : header_space(session);

	session->in.direct = 0;
	io_uring_prep_recv(sqe, session->fd, space.iov_base, space.iov_len, 0);
}

static void prepare_ciphertext(struct session *session, struct io_uring_sqe *sqe)
{
	struct iovec space = tls_stream_space(session->tls);

	io_uring_prep_recv(sqe, session->fd, space.iov_base, space.iov_len, 0);
}

static void receive(struct session *session)
{
	struct io_uring_sqe *sqe;

	if (session->in.armed || session->in.stalled || session->in.ended)
		return;
	if (session->state != SESSION_OPEN && session->state != SESSION_LINGERING)
		return;
	compact(session);
	sqe = uring_sqe(&session->worker->ring, &session->in.op);
	if (session->tls)
		prepare_ciphertext(session, sqe);
	else if (session->in.request && session->in.request->buffer)
		prepare_payload(session, sqe);
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
	wake(session);
}

static void stop_receiving(struct session *session)
{
	if (!session->in.armed || session->cancelling)
		return;
	io_uring_prep_cancel(uring_sqe(&session->worker->ring, &session->cancel), &session->in.op, 0);
	session->cancelling = true;
}

/* Sending. */

static void end_message(struct session *session)
{
	struct request_list done;

	request_list_init(&done);
	outbox_clear(&session->out.box, &done);
	release_all(session, &done);
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

static void send_plain(struct session *session)
{
	struct io_uring_sqe *sqe = uring_sqe(&session->worker->ring, &session->out.op);

	/* WAITALL: the kernel goes on by itself when the socket has taken only a part. */
	io_uring_prep_sendmsg(sqe, session->fd, &session->out.box.message, MSG_NOSIGNAL | MSG_WAITALL);
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

static void send_replies(struct session *session)
{
	struct request_list done;

	if (session->out.armed || !outbox_is_waiting(&session->out.box) || session->state == SESSION_DYING)
		return;
	request_list_init(&done);
	session->out.ticks = 0;
	outbox_pack(&session->out.box, session->dialect.headers, &done);
	release_all(session, &done);
	send_message(session);
}

static void on_sent(struct uring_op *op, int result, unsigned flags)
{
	struct session *session = container_of(op, struct session, out.op);
	size_t sent = result > 0 ? (size_t)result : 0;

	(void)flags;
	session->out.armed = false;
	if (result < 0 && result != -EINTR && result != -EAGAIN)
		session_kill(session, session->tls_ended ? session->reason : CLOSE_broken);
	if (session->state != SESSION_DYING && advance_message(session, sent)) {
		send_message(session);
		return;
	}
	end_message(session);
	wake(session);
}

/* Ending. */

static void die(struct session *session)
{
	struct request_list done;

	session->state = SESSION_DYING;
	withdraw_claim(session);
	close_report(session->reason, session->peer);
	/* Ends what is in the ring; where nothing is, close(2) lets the last replies leave. */
	if (session->in.armed || session->out.armed)
		shutdown(session->fd, SHUT_RDWR);
	request_list_init(&done);
	outbox_drop(&session->out.box, &done);
	if (!session->out.armed)
		outbox_clear(&session->out.box, &done);
	release_all(session, &done);
	wake(session);
}

void session_kill(struct session *session, enum close_reason reason)
{
	if (session->state == SESSION_DYING)
		return;
	session->reason = reason;
	die(session);
}

void session_finish(struct session *session, enum close_reason reason)
{
	if (session->state != SESSION_OPEN)
		return;
	session->reason = reason;
	session->state = SESSION_FINISHING;
	withdraw_claim(session);
	worker_watch(session->worker);
	session->in.stalled = false;
	stop_receiving(session);
	wake(session);
}

/* "shut down the TLS session (if one is running)": a client that has hung up, or takes nothing, is not waited for.
 * Returns whether it is on its way. */
static bool end_stream(struct session *session)
{
	if (!session->tls || session->tls_ended)
		return false;
	session->tls_ended = true;
	tls_stream_end(session->tls);
	if (tls_stream_out(session->tls).iov_len == 0)
		return false;
	send_ciphertext(session, MSG_DONTWAIT);
	return true;
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

static void drop_partial(struct session *session)
{
	if (session->in.armed || !session->in.request)
		return;
	release(session, session->in.request);
	session->in.request = NULL;
}

static bool is_idle(const struct session *session)
{
	return !session->in.armed && !session->out.armed && !session->cancelling && !session->pausing &&
	       !session->claiming && session->on_disk == 0 && !session->turn.queued;
}

static void session_free(struct session *session)
{
	struct worker *worker = session->worker;

	assert(session->requests == 0 && session->bytes == 0 && session->credit == 0);
	if (session->next)
		session->next->link = session->link;
	*session->link = session->next;
	close(session->fd);
	export_put(session->export);
	origin_leave(session->origin);
	tls_stream_free(session->tls);
	free(session->in.bytes);
	free(session);
	worker_lose(worker);
}

static void settle(struct session *session)
{
	if (session->state == SESSION_FINISHING || session->state == SESSION_DYING)
		drop_partial(session);
	if (session->credit > 0)
		return_credit(session);
	if (session->state == SESSION_FINISHING && session->requests == 0 && !session->out.armed &&
		!session->in.armed && !end_stream(session))
		wind_up(session);
	if (session->state == SESSION_LINGERING && session->in.ended)
		die(session);
	if (session->state == SESSION_LINGERING)
		receive(session);
	if (session->state == SESSION_DYING && is_idle(session))
		session_free(session);
}

/* The end of a turn: once for all that happened in it. Replies go first, then what finished at once. */
static void session_turn(struct uring_task *task)
{
	struct session *session = container_of(task, struct session, turn);

	send_replies(session);
	if (session->state == SESSION_OPEN)
		take_requests(session);
	send_replies(session);
	receive(session);
	settle(session);
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

bool session_tick(struct session *session)
{
	session->in.ticks++;
	session->out.ticks++;
	if (session->state == SESSION_FINISHING &&
		++session->ending_ticks > 1000 * FINISH_DEADLINE_S / TICK_MS &&
		session->reason != CLOSE_shutdown)
		session_kill(session, CLOSE_finish_deadline);
	else if (is_holding_up(session))
		session_kill(session, CLOSE_hold_deadline);
	else if (session->state == SESSION_LINGERING && !is_something_on_the_way(session))
		die(session);
	return session->credit > 0 || session->claiming || session->state == SESSION_FINISHING ||
	       session->state == SESSION_LINGERING;
}

static void on_arrival(struct mail *mail)
{
	struct session *session = container_of(mail, struct session, arrival);
	struct worker *worker = session->worker;

	session->next = worker->sessions;
	session->link = &worker->sessions;
	if (session->next)
		session->next->link = &session->next;
	worker->sessions = session;
	log_debug("%s: serves export '%s'", session->peer, session->export->spec.name);
	wake(session);
	worker_gain(worker, session);
}

/* AF_VSOCK refuses to wait for as much as its queue holds: ENOMEM. */
static int flag_for_whole(int fd)
{
	int family = AF_UNSPEC;
	socklen_t length = sizeof(family);

	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length);
	return family == AF_VSOCK ? 0 : MSG_WAITALL;
}

struct session *session_new(int fd, struct export *export, struct dialect dialect, const char *peer,
	const uint8_t *early, size_t early_length)
{
	struct session *session = calloc(1, sizeof(*session));
	uint8_t *bytes = malloc(RECEIVE_BYTES);

	assert(early_length <= RECEIVE_BYTES);
	if (!session || !bytes) {
		free(session);
		free(bytes);
		close(fd);
		return NULL;
	}
	session->fd = fd;
	session->export = export;
	session->dialect = dialect;
	session->turn.run = session_turn;
	session->arrival.read = on_arrival;
	session->claim.granted.read = on_granted;
	session->cancel.done = on_cancelled;
	session->pause.done = on_paused;
	session->in.op.done = on_received;
	session->in.bytes = bytes;
	session->in.whole = flag_for_whole(fd);
	session->in.end = early_length;
	memcpy(bytes, early, early_length);
	session->out.op.done = on_sent;
	outbox_init(&session->out.box);
	snprintf(session->peer, sizeof(session->peer), "%s", peer);
	return session;
}

void session_secure(struct session *session, struct tls_stream *stream)
{
	session->tls = stream;
}

void session_belong(struct session *session, struct origin *origin)
{
	session->origin = origin;
}

void session_hand_over(struct session *session, struct worker *worker)
{
	session->worker = worker;
	session->claim.ring = &worker->ring;
	atomic_fetch_add_explicit(&worker->load, 1, memory_order_relaxed);
	uring_post(&worker->ring, &session->arrival);
}

struct session *session_next(const struct session *session)
{
	return session->next;
}
