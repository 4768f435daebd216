/* server/socket_kind.c -- asks the kernel, and the kernel alone. */
#include "server/socket_kind.h"

#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int option_of(int fd, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &length) ? -1 : value;
}

static const char *stream_flaw(int fd)
{
	struct stat status;
	int family;

	if (fstat(fd, &status))
		return "is not open";
	if (!S_ISSOCK(status.st_mode))
		return "is not a socket";
	family = option_of(fd, SO_DOMAIN);
	if (family != AF_INET && family != AF_INET6 && family != AF_UNIX && family != AF_VSOCK)
		return "is a socket of a family that is not served";
	return option_of(fd, SO_TYPE) == SOCK_STREAM ? NULL : "is not a stream socket";
}

static bool has_peer(int fd)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);

	return getpeername(fd, (struct sockaddr *)&peer, &length) == 0;
}

bool socket_is_connection(int fd)
{
	return !stream_flaw(fd) && has_peer(fd);
}

const char *socket_listen_flaw(int fd)
{
	const char *flaw = stream_flaw(fd);

	if (flaw)
		return flaw;
	if (option_of(fd, SO_ACCEPTCONN) > 0)
		return NULL;
	return has_peer(fd) ? "is a connection, which is for --single" : "does not listen";
}
