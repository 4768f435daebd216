/* tests/bench/nbd/dial.c -- connects and negotiates with an NBD server, blocking: a failure ends the program. */

#include "load.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void xwrite(int fd, const void *p, size_t n)
{
	while (n) {
		ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			die("handshake: send: %s", strerror(errno));
		p = (const uint8_t *)p + k;
		n -= (size_t)k;
	}
}

static void xread(int fd, void *p, size_t n)
{
	while (n) {
		ssize_t k = recv(fd, p, n, 0);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			die("handshake: recv: %s", k ? strerror(errno) : "connection closed");
		p = (uint8_t *)p + k;
		n -= (size_t)k;
	}
}

int dial(bool *tcp)
{
	struct timeval tv = { .tv_sec = (time_t)opt.timeout,
		.tv_usec = (suseconds_t)((opt.timeout - (double)(time_t)opt.timeout) * 1e6) };
	const char *a = opt.addr;
	int fd = -1, one = 1, v;

	if (!strncmp(a, "unix:", 5))
		a += 5;
	*tcp = a[0] != '/' && a[0] != '.';
	if (!*tcp) {
		struct sockaddr_un un = { .sun_family = AF_UNIX };

		if (strlen(a) >= sizeof un.sun_path)
			die("socket path too long");
		strcpy(un.sun_path, a);
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (fd < 0 || connect(fd, (void *)&un, sizeof un))
			die("connect %s: %s", a, strerror(errno));
	} else {
		struct addrinfo hint = { .ai_socktype = SOCK_STREAM }, *res, *ai;
		const char *colon = strrchr(a, ':');
		char host[256];
		int e;

		if (!colon || (size_t)(colon - a) >= sizeof host)
			die("address must be a socket path or host:port: %s", a);
		memcpy(host, a, (size_t)(colon - a));
		host[colon - a] = 0;
		if ((e = getaddrinfo(host, colon + 1, &hint, &res)))
			die("%s: %s", a, gai_strerror(e));
		for (ai = res; ai; ai = ai->ai_next) {
			fd = socket(ai->ai_family, SOCK_STREAM, 0);
			if (fd >= 0 && !connect(fd, ai->ai_addr, ai->ai_addrlen))
				break;
			if (fd >= 0)
				close(fd);
			fd = -1;
		}
		freeaddrinfo(res);
		if (fd < 0)
			die("connect %s: %s", a, strerror(errno));
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	}
	v = (int)opt.sndbuf;
	if (v)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &v, sizeof v);
	v = (int)opt.rcvbuf;
	if (v)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &v, sizeof v);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
	return fd;
}

static void send_opt(int fd, uint32_t option, const void *data, uint32_t len)
{
	uint8_t h[16];

	put64(h, NBD_OPTION_MAGIC);
	put32(h + 8, option);
	put32(h + 12, len);
	xwrite(fd, h, sizeof h);
	xwrite(fd, data, len);
}

/* one option reply: its type; its data in buf, its length in *len */
static uint32_t recv_opt(int fd, uint32_t option, uint8_t *buf, uint32_t max, uint32_t *len)
{
	uint8_t h[20];

	xread(fd, h, sizeof h);
	if (get64(h) != NBD_OPTION_REPLY_MAGIC || get32(h + 8) != option)
		die("handshake: bad option reply");
	*len = get32(h + 16);
	if (*len > max)
		die("handshake: option reply of %u bytes", *len);
	xread(fd, buf, *len);
	return get32(h + 12);
}

void handshake(int fd)
{
	size_t nlen = strlen(opt.export);
	uint8_t b[8192];
	uint32_t len, t;
	bool have_export = false;

	xread(fd, b, 18);
	if (get64(b) != NBD_MAGIC || get64(b + 8) != NBD_OPTION_MAGIC)
		die("handshake: not a newstyle NBD server");
	t = get16(b + 16);
	if (!(t & 1))
		die("handshake: server is not fixed newstyle");
	put32(b, t & 3); /* FIXED_NEWSTYLE, and NO_ZEROES if offered */
	xwrite(fd, b, 4);

	if (opt.structured) {
		send_opt(fd, NBD_OPT_STRUCTURED_REPLY, b, 0);
		if (recv_opt(fd, NBD_OPT_STRUCTURED_REPLY, b, sizeof b, &len) != NBD_REP_ACK)
			die("handshake: server has no structured replies");
		structured_on = true;
	}
	if (nlen > 4096)
		die("export name too long");
	put32(b, (uint32_t)nlen);
	memcpy(b + 4, opt.export, nlen);
	put16(b + 4 + nlen, 1);
	put16(b + 6 + nlen, NBD_INFO_BLOCK_SIZE);
	send_opt(fd, NBD_OPT_GO, b, (uint32_t)nlen + 8);
	while ((t = recv_opt(fd, NBD_OPT_GO, b, sizeof b, &len)) == NBD_REP_INFO) {
		if (len >= 12 && get16(b) == NBD_INFO_EXPORT) {
			export_size = get64(b + 2);
			transmission_flags = get16(b + 10);
			have_export = true;
		} else if (len >= 14 && get16(b) == NBD_INFO_BLOCK_SIZE) {
			if (opt.bs % get32(b + 2) || opt.base % get32(b + 2))
				die("server's minimum block size is %u", get32(b + 2));
			if (opt.bs > get32(b + 10))
				die("server's maximum block size is %u", get32(b + 10));
		}
	}
	if (t != NBD_REP_ACK)
		die("handshake: NBD_OPT_GO for '%s' refused: %#x %.*s", opt.export, t, (int)len,
			(const char *)b);
	if (!have_export)
		die("handshake: no NBD_INFO_EXPORT");
}
