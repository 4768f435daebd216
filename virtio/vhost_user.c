/* virtio/vhost_user.c -- the socket: one VMM after the other, one message after the other.
 *
 *   LISTENING --accept--> READING --order--> WAITING --settled--> READING
 *       ^                    |                                      |
 *       +------- drained -- ENDING <------------ closed, wrong -----+
 *
 * In WAITING and ENDING the socket is not read: what comes next may depend on what the queues have not done yet.
 */
#include "virtio/vhost_user.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/container.h"
#include "conf/log_limit.h"
#include "virtio/vhost_requests.h"
#include "virtio/vhost_session.h"

/* Between two tries to accept where there are no descriptors left, say. */
#define ACCEPT_RETRY_S 1.0

/* A VMM may come and go, and send what is refused, as often as it likes. */
#define VMM_LINES_PER_S 20

static struct log_limit vmm_lines = LOG_LIMIT(VMM_LINES_PER_S, "more lines about VMMs than this log tells");

/* A VMM that waits so long does nothing else, mostly: its operator may want to know why. */
#define PATIENCE_S 3.0

enum vhost_state { VHOST_LISTENING, VHOST_READING, VHOST_WAITING, VHOST_ENDING };

struct vhost_user {
	struct loop *main;
	struct virtio_blk blk;
	struct vhost_session session;
	enum vhost_state state;
	bool stopping;

	int listen_fd; /* owned */
	ev_io on_connect;
	ev_timer on_retry;

	int fd; /* owned: the VMM's connection; -1: none */
	ev_io on_message;
	struct vhost_receiver receiver;
	const struct vhost_request_kind *kind; /* of the message that waits */
	bool again;			       /* it is to be handled again */
	ev_timer on_patience;		       /* in WAITING and ENDING, once */

	void (*stopped)(void *arg);
	void *stopped_arg;
	struct mail on_stop;
};

static void listen_again(struct vhost_user *vu);

static void finish_stop(struct mail *mail)
{
	struct vhost_user *vu = container_of(mail, struct vhost_user, on_stop);
	void (*stopped)(void *arg) = vu->stopped;
	void *arg = vu->stopped_arg;

	vhost_session_fini(&vu->session);
	close(vu->listen_fd);
	free(vu);
	stopped(arg);
}

static void on_patience(struct ev_loop *ev, ev_timer *watcher, int revents)
{
	struct vhost_user *vu = watcher->data;

	(void)ev;
	(void)revents;
	if (vu->state == VHOST_ENDING)
		log_warning(
			"the next VMM waits until the disk has answered what the last one's guest had asked");
	else
		log_warning("the VMM's %s waits until the disk has answered what is in flight",
			vu->kind ? vu->kind->name : "next message");
}

static void wait_for_queues(struct vhost_user *vu, enum vhost_state state)
{
	vu->state = state;
	ev_io_stop(vu->main->ev, &vu->on_message);
	ev_timer_set(&vu->on_patience, PATIENCE_S, 0.);
	ev_timer_start(vu->main->ev, &vu->on_patience);
}

/* ENDING: every queue is to be stopped before the next VMM's first message is read. */
static void session_end(struct vhost_user *vu)
{
	if (vu->session.orders || !vhost_session_end(&vu->session))
		return;
	ev_timer_stop(vu->main->ev, &vu->on_patience);
	if (vu->stopping)
		loop_post(vu->main, &vu->on_stop);
	else
		listen_again(vu);
}

static void connection_end(struct vhost_user *vu)
{
	vhost_message_close(&vu->receiver.message);
	close(vu->fd);
	vu->fd = -1;
	vu->kind = NULL;
	ev_timer_stop(vu->main->ev, &vu->on_patience);
	wait_for_queues(vu, VHOST_ENDING);
	session_end(vu);
}

static void connection_fail(struct vhost_user *vu, const char *request, const char *why)
{
	log_limited(&vmm_lines, LOG_ERROR, "closing the VMM's connection: %s: %s", request, why);
	connection_end(vu);
}

/* Messages */

/* Returns whether the connection is still there. */
static bool reply(struct vhost_user *vu, size_t size)
{
	int error = vhost_reply(vu->fd, &vu->receiver.message, size);

	if (error == 0)
		return true;
	connection_fail(vu, vu->kind ? vu->kind->name : "a message", "its reply cannot be sent");
	return false;
}

/* Spec: VHOST_USER_PROTOCOL_F_REPLY_ACK. */
static bool wants_ack(const struct vhost_user *vu)
{
	return (vu->receiver.message.header.flags & VHOST_USER_NEED_REPLY) &&
	       (vu->session.protocol_features & VHOST_USER_PROTOCOL_F_REPLY_ACK);
}

static bool acknowledge(struct vhost_user *vu, int error)
{
	/* What came along and nobody took does not go back. */
	vhost_message_close(&vu->receiver.message);
	vu->receiver.message.payload.u64 = error ? 1 : 0;
	return reply(vu, sizeof(uint64_t));
}

/* The message is dealt with; goes on with the next one. */
static void message_done(struct vhost_user *vu)
{
	bool there = true;

	if (vu->kind->replies)
		there = reply(vu, vu->receiver.message.header.size);
	else if (wants_ack(vu))
		there = acknowledge(vu, 0);
	if (!there)
		return;
	vhost_message_close(&vu->receiver.message);
	vu->kind = NULL;
	vu->state = VHOST_READING;
	ev_io_start(vu->main->ev, &vu->on_message);
}

static void message_refused(struct vhost_user *vu, const char *request, const char *why)
{
	/* A VMM that asked can be told, unless it expects an answer of another form. */
	if (!wants_ack(vu) || (vu->kind && vu->kind->replies)) {
		connection_fail(vu, request, why);
		return;
	}
	log_limited(&vmm_lines, LOG_WARNING, "refused the VMM's %s: %s", request, why);
	if (!acknowledge(vu, -EINVAL))
		return;
	vhost_message_close(&vu->receiver.message);
	vu->kind = NULL;
	vu->state = VHOST_READING;
	ev_io_start(vu->main->ev, &vu->on_message);
}

static const char *message_fault(const struct vhost_request_kind *kind, const struct vhost_message *message)
{
	if (message->header.size < kind->size_min || message->header.size > kind->size_max)
		return "its payload is of another size";
	if (message->fd_count > kind->fds_max)
		return "too many descriptors";
	return NULL;
}

static void message_handle(struct vhost_user *vu)
{
	const char *why = NULL;
	int handled = vu->kind->handle(&vu->session, &vu->receiver.message, &why);

	if (handled < 0) {
		message_refused(vu, vu->kind->name, why);
		return;
	}
	vu->again = handled == VHOST_AGAIN;
	if (handled == VHOST_DONE) {
		message_done(vu);
		return;
	}
	wait_for_queues(vu, VHOST_WAITING);
}

static void message_begin(struct vhost_user *vu)
{
	const struct vhost_message *message = &vu->receiver.message;
	const struct vhost_request_kind *kind = vhost_request_kind(message->header.request);
	char unknown[32];
	const char *fault;

	vu->kind = kind;
	if (!kind) {
		snprintf(unknown, sizeof(unknown), "request %u", message->header.request);
		message_refused(vu, unknown, "not a request this back-end knows");
		return;
	}
	log_debug("VMM: %s, %u bytes, %u descriptors", kind->name, message->header.size, message->fd_count);
	fault = message_fault(kind, message);
	if (fault)
		message_refused(vu, kind->name, fault);
	else
		message_handle(vu);
}

static void on_message(struct ev_loop *ev, ev_io *watcher, int revents)
{
	struct vhost_user *vu = watcher->data;
	const char *why = NULL;
	int got;

	(void)ev;
	(void)revents;
	loop_assert_mine(vu->main);
	assert(vu->state == VHOST_READING);
	/* A ring that is being started: the next message may be about it. */
	if (vu->session.orders) {
		wait_for_queues(vu, VHOST_WAITING);
		return;
	}
	got = vhost_receive(&vu->receiver, &why);
	if (got == 1) {
		message_begin(vu);
	} else if (got == -ECONNRESET) {
		log_limited(&vmm_lines, LOG_INFO, "the VMM has disconnected");
		connection_end(vu);
	} else if (got < 0) {
		connection_fail(vu, "its stream", why);
	}
}

static void on_settled(struct vhost_session *session)
{
	struct vhost_user *vu = container_of(session, struct vhost_user, session);

	if (vu->state == VHOST_ENDING) {
		session_end(vu);
		return;
	}
	if (vu->state != VHOST_WAITING)
		return;
	ev_timer_stop(vu->main->ev, &vu->on_patience);
	if (!vu->kind) {
		vu->state = VHOST_READING;
		ev_io_start(vu->main->ev, &vu->on_message);
	} else if (session->order_error) {
		message_refused(vu, vu->kind->name, "out of memory");
	} else if (vu->again) {
		message_handle(vu);
	} else {
		message_done(vu);
	}
}

/* Connections */

static void on_connect(struct ev_loop *ev, ev_io *watcher, int revents)
{
	struct vhost_user *vu = watcher->data;
	int fd = accept4(vu->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)revents;
	if (fd < 0) {
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		log_error("cannot accept a VMM's connection: %s; trying again", strerror(errno));
		ev_io_stop(ev, watcher);
		ev_timer_start(ev, &vu->on_retry);
		return;
	}
	log_limited(&vmm_lines, LOG_INFO, "a VMM has connected");
	ev_io_stop(ev, watcher);
	vu->fd = fd;
	memset(&vu->receiver, 0, sizeof(vu->receiver));
	vu->receiver.socket = fd;
	vu->state = VHOST_READING;
	ev_io_set(&vu->on_message, fd, EV_READ);
	ev_io_start(ev, &vu->on_message);
}

static void listen_again(struct vhost_user *vu)
{
	vu->state = VHOST_LISTENING;
	ev_io_start(vu->main->ev, &vu->on_connect);
}

static void on_retry(struct ev_loop *ev, ev_timer *watcher, int revents)
{
	(void)ev;
	(void)revents;
	listen_again(watcher->data);
}

int vhost_user_new(struct loop *main, int listen_fd, const struct virtio_blk_config *config,
	const struct queue_thread *threads, unsigned thread_count, struct vhost_user **out)
{
	struct vhost_user *vu;
	int error;

	if (thread_count == 0)
		return -EINVAL;
	vu = calloc(1, sizeof(*vu));
	if (!vu)
		return -ENOMEM;
	error = virtio_blk_init(&vu->blk, config);
	if (!error)
		error = vhost_session_init(
			&vu->session, &vu->blk, main, threads, thread_count, config->num_queues);
	if (error) {
		free(vu);
		return error;
	}
	/* A VMM that is gone may have given us a pipe to call it by. */
	signal(SIGPIPE, SIG_IGN);
	/* A VMM may be gone again before it is accepted. */
	fcntl(listen_fd, F_SETFL, fcntl(listen_fd, F_GETFL) | O_NONBLOCK);
	vu->main = main;
	vu->session.settled = on_settled;
	vu->listen_fd = listen_fd;
	vu->fd = -1;
	vu->on_stop.read = finish_stop;
	ev_io_init(&vu->on_connect, on_connect, listen_fd, EV_READ);
	ev_init(&vu->on_message, on_message);
	ev_timer_init(&vu->on_retry, on_retry, ACCEPT_RETRY_S, 0.);
	ev_timer_init(&vu->on_patience, on_patience, 0., 0.);
	vu->on_patience.data = vu->on_connect.data = vu->on_message.data = vu->on_retry.data = vu;
	listen_again(vu);
	*out = vu;
	return 0;
}

void vhost_user_resize(struct vhost_user *vu, uint64_t bytes)
{
	loop_assert_mine(vu->main);
	if (virtio_blk_resize(&vu->blk, bytes))
		vhost_session_tell_config(&vu->session);
}

void vhost_user_stop(struct vhost_user *vu, void (*stopped)(void *arg), void *arg)
{
	loop_assert_mine(vu->main);
	assert(!vu->stopping);
	vu->stopping = true;
	vu->stopped = stopped;
	vu->stopped_arg = arg;
	ev_io_stop(vu->main->ev, &vu->on_connect);
	ev_timer_stop(vu->main->ev, &vu->on_retry);
	if (vu->fd >= 0)
		connection_end(vu);
	else if (vu->state == VHOST_LISTENING)
		loop_post(vu->main, &vu->on_stop);
}
