/* tests/bench/vhost/mock_nbd.c -- the bridge to an NBD server: requests of one ring pass leave in one sendmsg, replies are
 * taken many per recv. */
#include "mock.h"

#include <arpa/inet.h>
#include <endian.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "server/nbd_wire.h"

#define NPEND 512
enum { SMALL_READ = 4096, BIG_PAYLOAD = 16384 };
struct pend {
	struct ring *r;
	uint16_t id;
	int nout;
	size_t len;
	uint8_t *status;
	struct iovec *out;
	struct nbd_request_header q;
};
int nbd = -1;
static struct pend pend[NPEND];
static uint16_t pfree[NPEND];
static int npfree;
static struct iovec sv[MAXSEG * 4];
static int nsv;
static uint8_t rxb[256 << 10];
static size_t rxn, rxo, big_left;
static struct pend *big;
static uint64_t big_bytes;

static void finish(struct pend *p, uint32_t err)
{
	if (p->r->on) {
		*p->status = err ? S_IOERR : S_OK;
		push(p->r, p->id, 1 + (p->q.type == htobe16(NBD_CMD_READ) && !err ? (uint32_t)p->len : 0));
	}
	big_bytes -= p->len;
	free(p->out);
	pfree[npfree++] = (uint16_t)(p - pend);
}

/* The rest of a large payload goes straight to its place, and the start of what follows it into the buffer. */
static ssize_t receive_big(size_t *want)
{
	struct iovec v[MAXSEG + 1];
	size_t skip = big->len - big_left;
	int k = 0;
	ssize_t n;

	for (int i = 0; i < big->nout; i++) {
		if (skip >= big->out[i].iov_len) {
			skip -= big->out[i].iov_len;
			continue;
		}
		v[k++] = (struct iovec){ (uint8_t *)big->out[i].iov_base + skip, big->out[i].iov_len - skip };
		skip = 0;
	}
	v[k++] = (struct iovec){ rxb, SMALL_READ };
	*want = big_left + SMALL_READ;
	n = readv(nbd, v, k);
	if (n > 0 && (size_t)n < big_left) {
		big_left -= (size_t)n;
	} else if (n > 0) {
		rxo = 0;
		rxn = (size_t)n - big_left;
		finish(big, 0);
		big = NULL;
	}
	return n;
}

/* Fills the buffer; while large payloads are due it takes just a header and a little, to leave the rest to readv. */
static ssize_t receive_small(size_t *want)
{
	unsigned inflight = (unsigned)(NPEND - npfree);
	ssize_t n;

	if (rxo) {
		memmove(rxb, rxb + rxo, rxn - rxo);
		rxn -= rxo;
		rxo = 0;
	}
	*want = inflight && big_bytes / inflight > 32768 ? SMALL_READ : sizeof(rxb) - rxn;
	n = recv(nbd, rxb + rxn, *want, 0);
	if (n > 0)
		rxn += (size_t)n;
	return n;
}

/* One reply out of the buffer; false: it is not all there yet. */
static bool take_reply(void)
{
	struct nbd_simple_reply h;
	struct pend *p;
	size_t have;
	bool data;

	if (big || rxn - rxo < sizeof(h))
		return false;
	memcpy(&h, rxb + rxo, sizeof(h));
	if (h.magic != htobe32(NBD_SIMPLE_REPLY_MAGIC) || h.cookie >= NPEND)
		fatal("bad NBD reply");
	p = &pend[h.cookie];
	data = p->q.type == htobe16(NBD_CMD_READ) && !h.error;
	have = rxn - rxo - sizeof(h);
	if (data && have < p->len) {
		if (p->len < BIG_PAYLOAD)
			return false;
		copy(p->out, p->nout, 0, rxb + rxo + sizeof(h), have, true);
		rxo = rxn = 0;
		big = p;
		big_left = p->len - have;
		return false;
	}
	rxo += sizeof(h);
	if (data) {
		copy(p->out, p->nout, 0, rxb + rxo, p->len, true);
		rxo += p->len;
	}
	finish(p, h.error);
	return true;
}

void nbd_receive(void)
{
	for (;;) {
		size_t want;
		ssize_t n = big ? receive_big(&want) : receive_small(&want);

		if (n <= 0) {
			if (n == 0 || errno != EAGAIN)
				fatal("NBD connection lost");
			return;
		}
		while (take_reply())
			;
		if ((size_t)n < want)
			return;
	}
}

void nbd_send(void)
{
	for (int i = 0; i < nsv;) {
		struct msghdr mh = { .msg_iov = sv + i,
			.msg_iovlen = (size_t)(nsv - i < 1024 ? nsv - i : 1024) };
		ssize_t n = sendmsg(nbd, &mh, MSG_NOSIGNAL);
		if (n < 0) {
			struct pollfd p = { nbd, POLLIN | POLLOUT, 0 };
			if (errno != EAGAIN)
				fatal("NBD send");
			poll(&p, 1, -1);
			if (p.revents & POLLIN)
				nbd_receive();
			continue;
		}
		for (; i < nsv && (size_t)n >= sv[i].iov_len; i++)
			n -= (ssize_t)sv[i].iov_len;
		if (i < nsv) {
			sv[i].iov_base = (uint8_t *)sv[i].iov_base + n;
			sv[i].iov_len -= (size_t)n;
		}
	}
	nsv = 0;
}

void nbd_submit(struct ring *r, uint16_t id, uint32_t type, uint64_t off, size_t len, struct iovec *in,
	int nin, struct iovec *out, int nout)
{
	struct pend *p = &pend[pfree[--npfree]];
	*p = (struct pend){
		.r = r, .id = id, .len = type == NBD_CMD_READ || type == NBD_CMD_WRITE ? len : 0, .nout = nout
	};
	p->q = (struct nbd_request_header){ htobe32(NBD_REQUEST_MAGIC), 0, htobe16((uint16_t)type),
		(uint64_t)(p - pend), htobe64(off), htobe32((uint32_t)len) };
	p->status = (uint8_t *)out[nout - 1].iov_base + out[nout - 1].iov_len - 1;
	p->out = malloc(sizeof(*out) * (size_t)nout);
	memcpy(p->out, out, sizeof(*out) * (size_t)nout);
	p->out[nout - 1].iov_len--; /* what remains is the data */
	big_bytes += p->len;
	sv[nsv++] = (struct iovec){ &p->q, sizeof(p->q) };
	for (size_t skip = 16, i = 0; type == NBD_CMD_WRITE && i < (size_t)nin; i++) {
		if (skip < in[i].iov_len)
			sv[nsv++] = (struct iovec){ (uint8_t *)in[i].iov_base + skip, in[i].iov_len - skip };
		skip = skip < in[i].iov_len ? 0 : skip - in[i].iov_len;
	}
	if (nsv > MAXSEG)
		nbd_send();
}

static int dial_unix(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		fatal("connect");
	return fd;
}

static int dial_tcp(const char *where)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0), port = 0, on = 1;
	char host[64];

	if (sscanf(where, "tcp:%63[^:]:%d", host, &port) != 2)
		fatal("the NBD server is unix:PATH or tcp:HOST:PORT");
	sa.sin_port = htons((uint16_t)port);
	sa.sin_addr.s_addr = inet_addr(host);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		fatal("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

void nbd_connect(const char *where)
{
	struct __attribute__((packed)) {
		uint32_t flags;
		struct nbd_option_header option;
	} hello = {
		htobe32(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES),
		{ .magic = htobe64(NBD_OPTION_MAGIC), .option = htobe32(NBD_OPT_EXPORT_NAME) },
	};
	uint64_t size;
	uint8_t b[18];

	nbd = strncmp(where, "unix:", 5) ? dial_tcp(where) : dial_unix(where + 5);
	if (recv(nbd, b, 18, MSG_WAITALL) != 18 || memcmp(b, "NBDMAGICIHAVEOPT", 16) ||
		send(nbd, &hello, sizeof(hello), 0) != sizeof(hello) || recv(nbd, b, 10, MSG_WAITALL) != 10)
		fatal("NBD handshake");
	memcpy(&size, b, 8);
	cfg.capacity = be64toh(size) / 512;
	fcntl(nbd, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < NPEND; i++)
		pfree[npfree++] = (uint16_t)i;
}

bool nbd_full(void)
{
	return !npfree;
}

bool nbd_busy(void)
{
	return npfree < NPEND;
}
