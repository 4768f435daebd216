/* server/peer.c -- what the kernel knows of the other end, and what it shall do about it. */
#include "server/peer.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>

#include "conf/send_queue.h"
#include "server/limits.h"

static void name_process(int fd, struct peer *out)
{
	struct ucred who;
	socklen_t length = sizeof(who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length))
		return;
	out->uid = who.uid;
	snprintf(out->text, sizeof(out->text), "unix, pid %d, uid %u", who.pid, who.uid);
}

void peer_of(int fd, struct peer *out)
{
	*out = (struct peer){ .address.length = sizeof(out->address.sockaddr), .uid = (uid_t)-1 };
	if (getpeername(fd, (struct sockaddr *)&out->address.sockaddr, &out->address.length)) {
		out->address.length = 0;
		snprintf(out->text, sizeof(out->text), "a client that is gone");
		return;
	}
	address_text(&out->address, out->text);
	if (out->address.sockaddr.ss_family == AF_UNIX)
		name_process(fd, out);
}

void peer_prepare(int fd, const struct peer *peer)
{
	const int on = 1, idle = KEEPALIVE_IDLE_S, interval = KEEPALIVE_INTERVAL_S, count = KEEPALIVE_COUNT;
	int family = peer->address.sockaddr.ss_family;

	send_queue_bound(fd);
	if (family != AF_INET && family != AF_INET6)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}
