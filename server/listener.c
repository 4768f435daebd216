/* server/listener.c -- bind, accept, and what can be wrong with either. */
#include "server/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/log.h"
#include "server/limits.h"
#include "server/socket_kind.h"

struct listener {
	struct loop *loop; /* borrowed: outlives us */
	int fd;		   /* owned */
	struct address address;
	ev_io on_client;
	ev_timer on_pause_over;
	bool pause_told; /* since a client was last accepted */
	void (*accepted)(void *owner, int fd, const struct peer *peer);
	void *owner;
	/* The file of a Unix socket, as our bind(2) made it; 0, which no file has, where it was not ours. */
	dev_t device;
	ino_t inode;
};

static int refuse(char *why, size_t why_size, const struct address *address, const char *step, int error)
{
	char text[ADDRESS_TEXT_SIZE];

	snprintf(why, why_size, "%s: %s: %s", address_text(address, text), step, strerror(-error));
	return error;
}

static const char *socket_path(const struct address *address)
{
	if (address->sockaddr.ss_family != AF_UNIX)
		return NULL;
	return ((const struct sockaddr_un *)&address->sockaddr)->sun_path;
}

/* Returns 0 when nobody listens on a Unix socket any more, -EADDRINUSE when somebody does, or -errno. */
static int probe(const struct address *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error = 0;

	if (fd < 0)
		return -errno;
	/* EAGAIN: alive, and its backlog full. */
	if (connect(fd, (const struct sockaddr *)&address->sockaddr, address->length) == 0 || errno == EAGAIN)
		error = -EADDRINUSE;
	else if (errno != ECONNREFUSED && errno != ENOENT)
		error = -errno;
	close(fd);
	return error;
}

static int bind_to(const struct listener *listener)
{
	const struct address *address = &listener->address;

	return bind(listener->fd, (const struct sockaddr *)&address->sockaddr, address->length) ? -errno : 0;
}

/* Something is in the way: a socket that nobody listens on is removed. */
static int replace_stale(const struct listener *listener, char *why, size_t why_size)
{
	const char *path = socket_path(&listener->address);
	struct stat status;
	int error;

	if (lstat(path, &status))
		return refuse(why, why_size, &listener->address, "stat", -errno);
	if (!S_ISSOCK(status.st_mode)) {
		snprintf(why, why_size, "unix:%s: exists and is not a socket", path);
		return -EEXIST;
	}
	error = probe(&listener->address);
	if (error == -EADDRINUSE) {
		snprintf(why, why_size, "unix:%s: another server listens there", path);
		return error;
	}
	if (error)
		return refuse(why, why_size, &listener->address, "connect", error);
	log_info("unix:%s: replaces the socket of a server that is gone", path);
	if (unlink(path) && errno != ENOENT)
		return refuse(why, why_size, &listener->address, "unlink", -errno);
	error = bind_to(listener);
	return error ? refuse(why, why_size, &listener->address, "bind", error) : 0;
}

static int bind_or_replace(const struct listener *listener, char *why, size_t why_size)
{
	int error = bind_to(listener);

	if (error == -EADDRINUSE && socket_path(&listener->address))
		return replace_stale(listener, why, why_size);
	return error ? refuse(why, why_size, &listener->address, "bind", error) : 0;
}

/* Each IPv6 socket for itself: the wildcard of one family leaves that of the other free. */
static void set_options(const struct listener *listener)
{
	int on = 1;

	if (socket_path(&listener->address))
		return;
	setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (listener->address.sockaddr.ss_family == AF_INET6)
		setsockopt(listener->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
}

static void remember_file(struct listener *listener)
{
	const char *path = socket_path(&listener->address);
	struct stat status;

	if (path && lstat(path, &status) == 0) {
		listener->device = status.st_dev;
		listener->inode = status.st_ino;
	}
}

/* With the port that the kernel chose. */
static void ask_address(struct listener *listener)
{
	struct address *address = &listener->address;

	address->length = sizeof(address->sockaddr);
	getsockname(listener->fd, (struct sockaddr *)&address->sockaddr, &address->length);
}

static int open_socket(struct listener *listener, char *why, size_t why_size)
{
	const struct address *address = &listener->address;
	int error;

	listener->fd = socket(address->sockaddr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener->fd < 0)
		return refuse(why, why_size, address, "socket", -errno);
	set_options(listener);
	error = bind_or_replace(listener, why, why_size);
	if (error)
		goto close_fd;
	remember_file(listener);
	if (listen(listener->fd, LISTEN_BACKLOG)) {
		error = refuse(why, why_size, address, "listen", -errno);
		goto close_fd;
	}
	ask_address(listener);
	return 0;
close_fd:
	close(listener->fd);
	return error;
}

static void pause_accepting(struct listener *listener, int error)
{
	char text[ADDRESS_TEXT_SIZE];

	if (!listener->pause_told)
		log_warning("%s: accept: %s; tries again every %.1f s",
			address_text(&listener->address, text), strerror(error), ACCEPT_PAUSE_S);
	listener->pause_told = true;
	ev_io_stop(listener->loop->ev, &listener->on_client);
	ev_timer_set(&listener->on_pause_over, ACCEPT_PAUSE_S, 0);
	ev_timer_start(listener->loop->ev, &listener->on_pause_over);
}

static void on_pause_over(struct ev_loop *ev, ev_timer *timer, int events)
{
	struct listener *listener = timer->data;

	(void)events;
	ev_io_start(ev, &listener->on_client);
}

static void greet(struct listener *listener, int fd)
{
	struct peer peer;

	peer_of(fd, &peer);
	peer_prepare(fd, &peer);
	listener->accepted(listener->owner, fd, &peer);
}

/* Returns whether another client may be waiting. */
static bool accept_one(struct listener *listener)
{
	int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0) {
		listener->pause_told = false;
		greet(listener, fd);
		return true;
	}
	switch (errno) {
	case EAGAIN:
		return false;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		pause_accepting(listener, errno);
		return false;
	default:
		/* The connection broke before it was accepted: accept(2), "Error handling". */
		return true;
	}
}

static void on_client(struct ev_loop *ev, ev_io *watcher, int events)
{
	(void)ev;
	(void)events;
	for (int i = 0; i < ACCEPTS_PER_TURN && accept_one(watcher->data); i++)
		;
}

static struct listener *listener_new(
	struct loop *loop, void (*accepted)(void *owner, int fd, const struct peer *peer), void *owner)
{
	struct listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return NULL;
	listener->loop = loop;
	listener->accepted = accepted;
	listener->owner = owner;
	return listener;
}

static void start_accepting(struct listener *listener)
{
	ev_io_init(&listener->on_client, on_client, listener->fd, EV_READ);
	listener->on_client.data = listener;
	ev_timer_init(&listener->on_pause_over, on_pause_over, ACCEPT_PAUSE_S, 0);
	listener->on_pause_over.data = listener;
	ev_io_start(listener->loop->ev, &listener->on_client);
}

struct listener *listener_open(struct loop *loop, const struct address *address,
	void (*accepted)(void *owner, int fd, const struct peer *peer), void *owner, char *why,
	size_t why_size)
{
	struct listener *listener = listener_new(loop, accepted, owner);

	if (!listener) {
		snprintf(why, why_size, "out of memory");
		return NULL;
	}
	listener->address = *address;
	if (open_socket(listener, why, why_size)) {
		free(listener);
		return NULL;
	}
	start_accepting(listener);
	return listener;
}

struct listener *listener_adopt(struct loop *loop, int fd,
	void (*accepted)(void *owner, int fd, const struct peer *peer), void *owner, char *why,
	size_t why_size)
{
	const char *flaw = socket_listen_flaw(fd);
	struct listener *listener;

	if (flaw) {
		snprintf(why, why_size, "%s", flaw);
		return NULL;
	}
	listener = listener_new(loop, accepted, owner);
	if (!listener) {
		snprintf(why, why_size, "out of memory");
		return NULL;
	}
	listener->fd = fd;
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	ask_address(listener);
	start_accepting(listener);
	return listener;
}

const struct address *listener_address(const struct listener *listener)
{
	return &listener->address;
}

static void remove_file(const struct listener *listener)
{
	const char *path = socket_path(&listener->address);
	struct stat status;

	if (path && lstat(path, &status) == 0 && status.st_dev == listener->device &&
		status.st_ino == listener->inode)
		unlink(path);
}

void listener_close(struct listener *listener)
{
	ev_io_stop(listener->loop->ev, &listener->on_client);
	ev_timer_stop(listener->loop->ev, &listener->on_pause_over);
	remove_file(listener);
	close(listener->fd);
	free(listener);
}
