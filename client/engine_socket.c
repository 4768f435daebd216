/* client/engine_socket.c -- our own transmission on a plain socket.
 *
 * What is issued waits for engine_flush(), so that all commands of a turn leave in one sendmsg(2). One recvmsg(2) takes
 * all replies that are there; small data is copied out of its buffer, which costs less than a system call for each, and
 * the rest of a payload that is not there yet is received straight into its place, together with what follows it.
 */
#include "client/engine.h"

#include <errno.h>
#include <ev.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/reply_reader.h"
#include "client/request_writer.h"
#include "conf/container.h"
#include "virtio/foreign_memory.h"

/* Receives before other watchers of the loop have their turn. */
#define RECEIVES_PER_TURN 16u

struct engine_socket {
	struct engine engine;
	bool full; /* the socket: the rest of the message waits */
	bool lost;
	struct request_writer writer;
	struct reply_reader reader;
};

static struct engine_socket *socket_of(const struct engine *engine)
{
	return container_of(engine, struct engine_socket, engine);
}

static void lose(struct engine_socket *socket, const char *why)
{
	socket->lost = true;
	socket->engine.owner->lost(socket->engine.owner, why);
}

/* A VMM may have cut its memory short; system calls fail for that until we have touched it: then its ring breaks, and
 * the connection, which may serve others, goes on. */
static void touch(const struct iovec *iov, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		foreign_memory_touch(iov[i].iov_base, iov[i].iov_len);
}

/* -- sending ------------------------------------------------------------------------------------------------------ */

static ssize_t send_pieces(int fd, struct iovec *iov, unsigned count)
{
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = count };
	ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent >= 0 || errno != EFAULT)
		return sent;
	touch(iov, count);
	return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void socket_flush(struct engine *engine)
{
	struct engine_socket *socket = socket_of(engine);
	struct iovec *iov;
	unsigned count;

	while (!socket->full && !socket->lost &&
		(count = request_writer_message(&socket->writer, &iov)) > 0) {
		ssize_t sent = send_pieces(engine->fd, iov, count);

		if (sent >= 0) {
			request_writer_sent(&socket->writer, (size_t)sent);
			socket->reader.sent = socket->writer.sent;
		} else if (errno == EAGAIN) {
			socket->full = true;
		} else if (errno != EINTR) {
			lose(socket, strerror(errno));
		}
	}
}

static bool socket_issue(struct engine *engine, struct command *command)
{
	struct engine_socket *socket = socket_of(engine);

	if (!request_writer_has_room(&socket->writer, command))
		socket_flush(engine);
	if (!request_writer_has_room(&socket->writer, command))
		return false;
	reply_reader_expect(&socket->reader, command);
	request_writer_add(&socket->writer, command);
	return true;
}

/* -- receiving ---------------------------------------------------------------------------------------------------- */

static ssize_t receive_pieces(int fd, struct iovec *iov, unsigned count, unsigned foreign)
{
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = count };
	ssize_t received = recvmsg(fd, &message, MSG_DONTWAIT);

	if (received >= 0 || errno != EFAULT)
		return received;
	touch(iov, foreign);
	return recvmsg(fd, &message, MSG_DONTWAIT);
}

/* Returns whether there may be more. */
static bool receive(struct engine_socket *socket)
{
	struct iovec iov[REPLY_READER_PIECES];
	unsigned foreign;
	size_t room;
	unsigned count = reply_reader_room(&socket->reader, iov, &foreign, &room);
	ssize_t received = receive_pieces(socket->engine.fd, iov, count, foreign);
	enum reply_fault fault;

	if (received <= 0) {
		if (received == 0)
			lose(socket, NULL);
		else if (errno != EAGAIN && errno != EINTR)
			lose(socket, strerror(errno));
		return false;
	}
	fault = reply_reader_took(&socket->reader, (size_t)received);
	if (fault != REPLY_SOUND)
		lose(socket, reply_fault_words(fault));
	return fault == REPLY_SOUND && (size_t)received == room;
}

static void socket_on_ready(struct engine *engine, int revents)
{
	struct engine_socket *socket = socket_of(engine);
	unsigned count = 0;

	if (revents & EV_WRITE) {
		socket->full = false;
		socket_flush(engine);
	}
	while ((revents & EV_READ) && !socket->lost && receive(socket) && ++count < RECEIVES_PER_TURN)
		;
}

static int socket_events(const struct engine *engine)
{
	return socket_of(engine)->full ? EV_READ | EV_WRITE : EV_READ;
}

/* -- life --------------------------------------------------------------------------------------------------------- */

static void socket_disconnect(struct engine *engine)
{
	struct engine_socket *socket = socket_of(engine);

	if (!request_writer_is_empty(&socket->writer))
		return;
	request_writer_add_goodbye(&socket->writer);
	socket_flush(engine);
}

static void socket_free(struct engine *engine)
{
	struct engine_socket *socket = socket_of(engine);

	close(engine->fd);
	reply_reader_fini(&socket->reader);
	free(socket);
}

static const struct engine_ops socket_ops = {
	.issue = socket_issue,
	.flush = socket_flush,
	.on_ready = socket_on_ready,
	.events = socket_events,
	.disconnect = socket_disconnect,
	.free = socket_free,
};

struct engine *engine_socket_new(
	int fd, bool structured, struct command_pool pool, struct engine_owner *owner)
{
	struct engine_socket *socket = calloc(1, sizeof(*socket));

	if (!socket)
		return NULL;
	if (reply_reader_init(&socket->reader, structured, pool, owner)) {
		free(socket);
		return NULL;
	}
	socket->engine = (struct engine){ .ops = &socket_ops, .owner = owner, .fd = fd, .scatters = true };
	return &socket->engine;
}
