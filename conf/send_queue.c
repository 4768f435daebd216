/* conf/send_queue.c -- bounded where there is no network to fill. */
#include "conf/send_queue.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

static bool is_same_address(const struct sockaddr_storage *one, const struct sockaddr_storage *other)
{
	const struct sockaddr_in *in = (const void *)one, *other_in = (const void *)other;
	const struct sockaddr_in6 *in6 = (const void *)one, *other_in6 = (const void *)other;

	if (one->ss_family != other->ss_family)
		return false;
	switch (one->ss_family) {
	case AF_UNIX:
		return true;
	case AF_INET:
		return in->sin_addr.s_addr == other_in->sin_addr.s_addr;
	case AF_INET6:
		return memcmp(&in6->sin6_addr, &other_in6->sin6_addr, sizeof(in6->sin6_addr)) == 0;
	default:
		return false;
	}
}

static bool is_within_host(int fd)
{
	struct sockaddr_storage own = { 0 }, peer = { 0 };
	socklen_t own_length = sizeof(own), peer_length = sizeof(peer);

	return getsockname(fd, (struct sockaddr *)&own, &own_length) == 0 &&
	       getpeername(fd, (struct sockaddr *)&peer, &peer_length) == 0 && is_same_address(&own, &peer);
}

void send_queue_bound(int fd)
{
	const int bytes = SEND_QUEUE_BYTES;

	if (is_within_host(fd))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}
