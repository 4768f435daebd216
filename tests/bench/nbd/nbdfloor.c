/* tests/bench/nbd/nbdfloor.c -- a minimal NBD responder: what client, socket and protocol alone cost.
 *
 * One thread: epoll, one recv, then one sendmsg with every reply it led to.
 *   no -f    no disk: reads come from a static buffer, writes are dropped
 *   -f FILE  one pread/pwrite for each request (fdatasync for flush and FUA)
 *   -f -m    reads are sent straight from a mapping of FILE (one copy less)
 *   -a SKEW  read buffers start SKEW bytes into a page (2048). 16, what malloc gives, makes buffered reads up to 4
 *            times slower on AMD Zen 3: rep movsb with a target less than 32 bytes past its source, in page offsets.
 * Not a server to use: sends block, errors end it, only simple replies. */
#include <arpa/inet.h>
#include <endian.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/nbd_wire.h"

enum { RX = 1 << 20, ARENA = 64 << 20, MAX_REP = 500 };
struct conn {
	int fd;
	unsigned hlen;
	uint8_t h[28];
	uint64_t pay_left, off;
};

static uint8_t rx[RX], *arena, *map, hdrs[MAX_REP][16];
static struct iovec iov[2 * MAX_REP];
static int niov, nrep, file = -1, sndbuf, skew = 2048;
static size_t used;
static uint64_t size = 1ULL << 30;

static uint32_t g32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, 4);
	return be32toh(v);
}
static uint64_t g64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, 8);
	return be64toh(v);
}
static void p16(uint8_t *p, uint16_t v)
{
	v = htobe16(v);
	memcpy(p, &v, 2);
}
static void p32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, 4);
}
static void p64(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, 8);
}

static bool get(int fd, void *p, size_t n)
{
	return recv(fd, p, n, MSG_WAITALL) == (ssize_t)n;
}
static bool put(int fd, const void *p, size_t n)
{
	return send(fd, p, n, MSG_NOSIGNAL) == (ssize_t)n;
}

static bool opt_reply(int fd, uint32_t opt, uint32_t type, const void *d, uint32_t n)
{
	uint8_t h[64];

	p64(h, NBD_OPTION_REPLY_MAGIC);
	p32(h + 8, opt);
	p32(h + 12, type);
	p32(h + 16, n);
	memcpy(h + 20, d, n);
	return put(fd, h, 20 + n);
}

static bool handshake(int fd)
{
	uint8_t b[8192], info[12];

	memcpy(b, "NBDMAGICIHAVEOPT\0\3", 18);
	if (!put(fd, b, 18) || !get(fd, b, 4))
		return false;
	while (get(fd, b, 16)) {
		uint32_t opt = g32(b + 8), len = g32(b + 12);

		if (len > sizeof b || (len && !get(fd, b, len)))
			return false;
		if (opt != NBD_OPT_GO) {
			if (!opt_reply(fd, opt, NBD_REP_ERR(NBD_REP_ERR_UNSUP), b, 0))
				return false;
			continue;
		}
		p16(info, NBD_INFO_EXPORT);
		p64(info + 2, size);
		p16(info + 10, NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA |
				       NBD_FLAG_CAN_MULTI_CONN);
		return opt_reply(fd, opt, NBD_REP_INFO, info, 12) && opt_reply(fd, opt, NBD_REP_ACK, info, 0);
	}
	return false;
}

static bool flush_replies(int fd)
{
	struct msghdr m = { .msg_iov = iov };

	for (; niov;) {
		m.msg_iovlen = (size_t)niov;
		ssize_t k = sendmsg(fd, &m, MSG_NOSIGNAL);
		if (k < 0)
			return false;
		for (; niov && (size_t)k >= m.msg_iov->iov_len; niov--)
			k -= (ssize_t)(m.msg_iov++)->iov_len;
		if (niov) {
			m.msg_iov->iov_base = (uint8_t *)m.msg_iov->iov_base + k;
			m.msg_iov->iov_len -= (size_t)k;
		}
	}
	nrep = 0;
	used = 0;
	return true;
}

static bool reply(struct conn *c, const void *data, size_t n)
{
	p32(hdrs[nrep], NBD_SIMPLE_REPLY_MAGIC);
	p32(hdrs[nrep] + 4, 0);
	memcpy(hdrs[nrep] + 8, c->h + 8, 8);
	iov[niov++] = (struct iovec){ hdrs[nrep++], 16 };
	if (n)
		iov[niov++] = (struct iovec){ (void *)(uintptr_t)data, n };
	return nrep < MAX_REP || flush_replies(c->fd);
}

static bool request(struct conn *c)
{
	unsigned type = c->h[7];
	uint64_t off = g64(c->h + 16), len = g32(c->h + 24);
	uint8_t *d;

	if (g32(c->h) != NBD_REQUEST_MAGIC || type == NBD_CMD_DISC || off > size || len > size - off ||
		len > ARENA)
		return false;
	if (type == NBD_CMD_WRITE) {
		c->pay_left = len;
		c->off = off;
		return true;
	}
	if (type == NBD_CMD_FLUSH) {
		if (file >= 0 && fdatasync(file))
			return false;
		return reply(c, NULL, 0);
	}
	if (type != NBD_CMD_READ)
		return false;
	if (map)
		return reply(c, map + off, len);
	if (used + len > ARENA && !flush_replies(c->fd))
		return false;
	d = arena + (file >= 0 ? used : 0);
	if (file >= 0 && pread(file, d, len, (off_t)off) != (ssize_t)len)
		return false;
	used += len;
	return reply(c, d, len);
}

static bool serve(struct conn *c)
{
	ssize_t got = recv(c->fd, rx, RX, 0);
	uint8_t *p = rx;

	if (got <= 0)
		return false;
	for (size_t n = (size_t)got, k; n; p += k, n -= k) {
		if (c->pay_left) {
			k = n < c->pay_left ? n : c->pay_left;
			if (file >= 0 && pwrite(file, p, k, (off_t)c->off) != (ssize_t)k)
				return false;
			c->off += k;
			if (!(c->pay_left -= k)) {
				if ((c->h[5] & 1) && file >= 0 && fdatasync(file))
					return false;
				if (!reply(c, NULL, 0))
					return false;
			}
			continue;
		}
		k = n < 28 - c->hlen ? n : 28 - c->hlen;
		memcpy(c->h + c->hlen, p, k);
		c->hlen += (unsigned)k;
		if (c->hlen == 28) {
			c->hlen = 0;
			if (!request(c))
				return false;
		}
	}
	return flush_replies(c->fd);
}

static int listen_on(const char *path, uint16_t port)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_in in = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)
	};
	int fd = socket(path ? AF_UNIX : AF_INET, SOCK_STREAM, 0), one = 1;

	if (path) {
		strncpy(un.sun_path, path, sizeof un.sun_path - 1);
		unlink(path);
	} else {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	}
	if (bind(fd, path ? (void *)&un : (void *)&in, path ? sizeof un : sizeof in) || listen(fd, 64))
		err(2, "bind");
	return fd;
}

static void accept_one(int ep, int listener, bool tcp)
{
	int fd = accept(listener, NULL, NULL), one = 1;
	struct conn *c = NULL;

	if (tcp)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (sndbuf)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &sndbuf, sizeof sndbuf);
	if (fd < 0 || !handshake(fd) || !(c = calloc(1, sizeof *c))) {
		close(fd);
		return;
	}
	c->fd = fd;
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){ .events = EPOLLIN, .data.ptr = c });
}

static void conn_free(struct conn *c)
{
	niov = nrep = 0;
	used = 0;
	close(c->fd);
	free(c);
}

static void open_file(const char *name, bool want_map)
{
	if ((file = open(name, O_RDWR)) < 0)
		err(2, "%s", name);
	size = (uint64_t)lseek(file, 0, SEEK_END);
	if (want_map && (map = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0)) == MAP_FAILED)
		err(2, "mmap");
}

static void make_arena(void)
{
	if (!(arena = aligned_alloc(4096, ARENA + 4096)))
		err(2, "malloc");
	arena += skew;
	memset(arena, 0x5a, file >= 0 ? 1 << 20 : ARENA);
}

static void loop(int listener, bool tcp)
{
	int ep = epoll_create1(0);

	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &(struct epoll_event){ .events = EPOLLIN });
	for (;;) {
		struct epoll_event ev[16];
		int n = epoll_wait(ep, ev, 16, -1);

		for (int i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;

			if (!c)
				accept_one(ep, listener, tcp);
			else if (!serve(c))
				conn_free(c);
		}
	}
}

int main(int argc, char **argv)
{
	const char *path = NULL, *name = NULL;
	uint16_t port = 0;
	bool want_map = false;
	int ch;

	while ((ch = getopt(argc, argv, "u:t:s:f:mb:a:")) != -1)
		switch (ch) {
		case 'u':
			path = optarg;
			break;
		case 't':
			port = (uint16_t)atoi(optarg);
			break;
		case 's':
			size = strtoull(optarg, NULL, 0);
			break;
		case 'f':
			name = optarg;
			break;
		case 'm':
			want_map = true;
			break;
		case 'b':
			sndbuf = atoi(optarg);
			break;
		case 'a':
			skew = atoi(optarg) & 4095;
			break;
		default:
			errx(2, "usage: nbdfloor (-u PATH | -t PORT) [-s BYTES] [-f FILE [-m]] [-b SNDBUF] "
				"[-a SKEW]");
		}
	if (name)
		open_file(name, want_map);
	make_arena();
	loop(listen_on(path, port), !path);
}
