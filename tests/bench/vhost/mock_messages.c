/* tests/bench/vhost/mock_messages.c -- the vhost-user messages that vumock answers; what it does not know it refuses. */
#include "mock.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define OFFER                                                                                                \
	(F_VERSION_1 | F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_CONFIG_WCE | F_MQ | F_DISCARD | F_WRITE_ZEROES | \
		F_INDIRECT | F_EVENT_IDX | F_PACKED | F_PROTOCOL)
#define POFFER (PF_MQ | PF_REPLY_ACK | PF_CONFIG | (nbd < 0 ? PF_INFLIGHT : 0))

struct ring rings[MOCK_QUEUES] = { [0 ... MOCK_QUEUES - 1] = {
					   .kick = -1, .call = -1, .aw = true, .uw = true } };
uint64_t features;
struct blkcfg cfg;
static bool ack;
static int reply_fd = -1;

void front_end_gone(void)
{
	for (unsigned i = 0; i < nregs; i++)
		munmap(regs[i].map, regs[i].mlen);
	nregs = 0;
	for (int i = 0; i < MOCK_QUEUES; i++) {
		if (rings[i].kick >= 0)
			close(rings[i].kick);
		if (rings[i].call >= 0)
			close(rings[i].call);
		rings[i] = (struct ring){ .kick = -1, .call = -1, .aw = true, .uw = true };
	}
	ack = false;
}

/* The messages below return 0: done; 1: @m holds the reply; -1: refused. */
static int config_message(struct vmsg *m)
{
	struct vconfig c;
	if (m->size < 12)
		return -1;
	memcpy(&c, m->payload, 12);
	if (c.size != m->size - 12 || c.off > sizeof(cfg) || c.size > sizeof(cfg) - c.off) {
		if (m->request == SET_CONFIG)
			return -1;
		m->size = 0;
		return 1;
	}
	if (m->request == GET_CONFIG) {
		memcpy(m->payload + 12, (uint8_t *)&cfg + c.off, c.size);
		return 1;
	}
	if (c.off != offsetof(struct blkcfg, wce) || c.size != 1 || m->payload[12] > 1)
		return -1;
	cfg.wce = m->payload[12];
	return 0;
}

/* Requests on the RAM disk finish within the ring pass: nothing is ever left in flight. */
static int inflight_message(struct vmsg *m)
{
	struct vinflight d;
	if (m->size < 20 || nbd >= 0)
		return -1;
	memcpy(&d, m->payload, 20);
	d.size = 4096;
	memcpy(m->payload, &d, 20);
	m->size = 20;
	reply_fd = memfd_create("vumock-inflight", MFD_CLOEXEC);
	return reply_fd < 0 || ftruncate(reply_fd, 4096) ? -1 : 1;
}

static int reply_u64(struct vmsg *m, uint64_t value)
{
	memcpy(m->payload, &value, 8);
	m->size = 8;
	return 1;
}

static int vring_base(struct vmsg *m, struct ring *r, struct vstate s)
{
	r->on = false;
	s.num = features & F_PACKED
			? r->last | (uint32_t)r->aw << 15 | (uint32_t)r->puse << 16 | (uint32_t)r->uw << 31
			: r->last;
	memcpy(m->payload, &s, 8);
	m->size = 8;
	return 1;
}

static int vring_message(struct vmsg *m, int *fd, int nfd, struct ring *r, struct vstate s)
{
	struct vaddr a;

	memcpy(&a, m->payload, sizeof(a));
	switch (m->request) {
	case SET_VRING_NUM:
		if (!s.num || s.num > 32768 || r->on)
			return -1;
		r->num = s.num;
		return 0;
	case SET_VRING_ADDR:
		r->d = a.desc;
		r->a = a.avail;
		r->u = a.used;
		r->on &= resolve(r);
		return resolve(r) ? 0 : -1;
	case SET_VRING_BASE:
		r->last = (uint16_t)(features & F_PACKED ? s.num & 0x7fff : s.num);
		r->aw = s.num >> 15 & 1;
		r->uidx = r->last;
		r->signalled = r->last;
		r->puse = s.num >> 16 & 0x7fff;
		r->uw = s.num >> 31;
		return 0;
	case GET_VRING_BASE:
		return vring_base(m, r, s);
	case SET_VRING_KICK:
		if (!nfd || !resolve(r))
			return -1;
		if (r->kick >= 0)
			close(r->kick);
		r->kick = dup(fd[0]);
		fcntl(r->kick, F_SETFL, O_NONBLOCK);
		r->on = true;
		r->enabled |= !(features & F_PROTOCOL);
		return 0;
	case SET_VRING_CALL:
		if (r->call >= 0)
			close(r->call);
		r->call = nfd ? dup(fd[0]) : -1;
		return 0;
	case SET_VRING_ERR:
		return 0;
	case SET_VRING_ENABLE:
		if (s.num > 1)
			return -1;
		r->enabled = s.num;
		run_ring(r);
		return 0;
	default:
		return -1;
	}
}

static int device_message(struct vmsg *m, int *fd, int nfd)
{
	uint64_t v;

	memcpy(&v, m->payload, 8);
	switch (m->request) {
	case GET_FEATURES:
		return reply_u64(m, nbd >= 0 ? OFFER & ~(F_PACKED | F_DISCARD | F_WRITE_ZEROES) : OFFER);
	case SET_FEATURES:
		if (v & ~OFFER)
			return -1;
		features = v;
		return 0;
	case SET_OWNER:
	case RESET_OWNER:
		return 0;
	case SET_MEM_TABLE:
		return set_mem(m, fd, nfd);
	case GET_PROTOCOL_FEATURES:
		return reply_u64(m, POFFER);
	case SET_PROTOCOL_FEATURES:
		if (v & ~POFFER)
			return -1;
		ack = v & PF_REPLY_ACK;
		return 0;
	case GET_QUEUE_NUM:
		return reply_u64(m, MOCK_QUEUES);
	case GET_CONFIG:
	case SET_CONFIG:
		return config_message(m);
	case GET_INFLIGHT_FD:
		return inflight_message(m);
	case SET_INFLIGHT_FD:
		return m->size < 20 || nfd != 1 ? -1 : 0;
	default:
		return -1;
	}
}

static int handle(struct vmsg *m, int *fd, int nfd)
{
	static const uint8_t sizes[] = { [SET_FEATURES] = 8,
		[SET_VRING_NUM] = 8,
		[SET_VRING_ADDR] = 40,
		[SET_VRING_BASE] = 8,
		[GET_VRING_BASE] = 8,
		[SET_VRING_KICK] = 8,
		[SET_VRING_CALL] = 8,
		[SET_VRING_ERR] = 8,
		[SET_PROTOCOL_FEATURES] = 8,
		[SET_VRING_ENABLE] = 8 };
	bool with_fd = m->request >= SET_VRING_KICK && m->request <= SET_VRING_ERR;
	bool of_ring = (m->request >= SET_VRING_NUM && m->request <= SET_VRING_ERR) ||
		       m->request == SET_VRING_ENABLE;
	struct vstate s;
	uint64_t v;

	memcpy(&s, m->payload, 8);
	memcpy(&v, m->payload, 8);
	if (m->request < sizeof(sizes) && sizes[m->request] && m->size != sizes[m->request])
		return -1;
	if (with_fd ? nfd != (v & VRING_NOFD ? 0 : 1)
		    : m->request != SET_MEM_TABLE && m->request != SET_INFLIGHT_FD && nfd)
		return -1;
	if (!of_ring)
		return device_message(m, fd, nfd);
	if (with_fd)
		s.index = (uint32_t)(v & 0xff);
	return s.index < MOCK_QUEUES ? vring_message(m, fd, nfd, &rings[s.index], s) : -1;
}

static bool reply(int c, struct vmsg *m)
{
	struct iovec iov = { m, VMSG_HDR + m->size };
	char cb[CMSG_SPACE(sizeof(int))] = { 0 };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	bool sent;

	m->flags = MSG_VERSION | MSG_REPLY;
	if (reply_fd >= 0) {
		mh.msg_control = cb;
		mh.msg_controllen = sizeof(cb);
		struct cmsghdr *h = CMSG_FIRSTHDR(&mh);
		*h = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))
		};
		memcpy(CMSG_DATA(h), &reply_fd, sizeof(int));
	}
	sent = sendmsg(c, &mh, MSG_NOSIGNAL) > 0;
	if (reply_fd >= 0)
		close(reply_fd);
	reply_fd = -1;
	return sent;
}

bool front_end_message(int c)
{
	struct vmsg m;
	char cb[CMSG_SPACE(sizeof(int) * 64)];
	struct iovec iov = { &m, VMSG_HDR };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = cb, .msg_controllen = sizeof(cb)
	};
	int fd[64], nfd = 0, rc = -1;
	memset(&m, 0, sizeof(m));
	ssize_t n = recvmsg(c, &mh, MSG_CMSG_CLOEXEC | MSG_WAITALL);
	for (struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&mh) : NULL; h; h = CMSG_NXTHDR(&mh, h)) {
		int k = (int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fd + nfd, CMSG_DATA(h), sizeof(int) * (size_t)k);
		nfd += k;
	}
	if (n == (ssize_t)VMSG_HDR && (m.flags & 3) == MSG_VERSION && m.size <= sizeof(m.payload) &&
		(!m.size || recv(c, m.payload, m.size, MSG_WAITALL) == (ssize_t)m.size))
		rc = handle(&m, fd, nfd);
	for (int i = 0; i < nfd; i++)
		close(fd[i]);
	if (rc < 1) {
		if (!(ack && m.flags & MSG_NEED_REPLY))
			return rc == 0;
		reply_u64(&m, rc < 0);
	}
	return reply(c, &m);
}
