/* conf/socket.c -- listening at a path that may have a past. */
#include "conf/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* One VMM is served at a time, and a few operators; few others can be waiting. */
#define BACKLOG 4

static int say(char *why, size_t why_size, const char *what)
{
	snprintf(why, why_size, "%s: %s", what, strerror(errno));
	return -1;
}

static int unix_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* Why the file at @un may not be replaced; NULL: it is a socket that nobody listens at. */
static const char *in_use(const struct sockaddr_un *un)
{
	struct stat file;
	int fd, dead;

	if (lstat(un->sun_path, &file) || !S_ISSOCK(file.st_mode))
		return "exists and is not a socket";
	fd = unix_socket();
	if (fd < 0)
		return strerror(errno);
	dead = connect(fd, (const struct sockaddr *)un, sizeof(*un)) && errno == ECONNREFUSED;
	close(fd);
	return dead ? NULL : "another process listens there";
}

static int bind_replacing(int fd, const struct sockaddr_un *un, char *why, size_t why_size)
{
	const char *use;

	if (bind(fd, (const struct sockaddr *)un, sizeof(*un)) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return say(why, why_size, "bind");
	use = in_use(un);
	if (use) {
		snprintf(why, why_size, "%s", use);
		return -1;
	}
	if (unlink(un->sun_path) || bind(fd, (const struct sockaddr *)un, sizeof(*un)))
		return say(why, why_size, "replace");
	return 0;
}

static int name_socket(const char *path, struct sockaddr_un *un, char *why, size_t why_size)
{
	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!*path || strlen(path) >= sizeof(un->sun_path)) {
		snprintf(why, why_size, "the path of a Unix socket has 1 to %zu bytes",
			sizeof(un->sun_path) - 1);
		return -1;
	}
	memcpy(un->sun_path, path, strlen(path) + 1);
	return 0;
}

int socket_check(const char *path, char *why, size_t why_size)
{
	struct sockaddr_un un;
	struct stat file;
	const char *use;

	if (name_socket(path, &un, why, why_size))
		return -1;
	use = lstat(path, &file) ? NULL : in_use(&un);
	if (use)
		snprintf(why, why_size, "%s", use);
	return use ? -1 : 0;
}

int socket_listen(const char *path, mode_t mode, struct socket_path *made, char *why, size_t why_size)
{
	struct sockaddr_un un;
	struct stat file;
	int fd;

	if (name_socket(path, &un, why, why_size))
		return -1;
	fd = unix_socket();
	if (fd < 0)
		return say(why, why_size, "socket");
	/* The file that bind(2) makes has the mode of the socket. */
	if (fchmod(fd, mode)) {
		say(why, why_size, "chmod");
		goto close_fd;
	}
	if (bind_replacing(fd, &un, why, why_size))
		goto close_fd;
	if (listen(fd, BACKLOG) || lstat(path, &file)) {
		say(why, why_size, "listen");
		unlink(path);
		goto close_fd;
	}
	*made = (struct socket_path){ path, file.st_dev, file.st_ino };
	return fd;

close_fd:
	close(fd);
	return -1;
}

static int socket_option(int fd, int option)
{
	socklen_t length = sizeof(option);
	int value;

	return getsockopt(fd, SOL_SOCKET, option, &value, &length) ? -1 : value;
}

int socket_adopt(int fd, char *why, size_t why_size)
{
	if (socket_option(fd, SO_DOMAIN) != AF_UNIX || socket_option(fd, SO_TYPE) != SOCK_STREAM ||
		socket_option(fd, SO_ACCEPTCONN) != 1) {
		snprintf(why, why_size, "not a listening Unix stream socket");
		return -1;
	}
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) || fcntl(fd, F_SETFD, FD_CLOEXEC))
		return say(why, why_size, "fcntl");
	return 0;
}

void socket_remove(struct socket_path *made)
{
	struct stat file;

	if (made->path && lstat(made->path, &file) == 0 && file.st_dev == made->device &&
		file.st_ino == made->inode)
		unlink(made->path);
	made->path = NULL;
}
