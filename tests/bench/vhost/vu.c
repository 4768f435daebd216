/* tests/bench/vhost/vu.c -- vhost-user messages, negotiation and the memory that plays the guest. */
#include "vu.h"
#include <poll.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

void die(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fputs("vuload: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(2);
}

int vu_connect(struct vu *v)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	if (strlen(v->path) >= sizeof(sa.sun_path))
		die("socket path too long");
	strcpy(sa.sun_path, v->path);
	v->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (v->fd < 0)
		return -1;
	if (connect(v->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		close(v->fd);
		v->fd = -1;
		return -1;
	}
	v->reply_ack = false;
	v->inflight_fd = -1;
	return 0;
}

int vu_send(
	struct vu *v, uint32_t req, uint32_t flags, const void *p, uint32_t size, const int *fds, int nfds)
{
	uint32_t hdr[3] = { req, flags | MSG_VERSION, size };
	struct iovec iov[2] = { { hdr, VMSG_HDR }, { (void *)(uintptr_t)p, p ? size : 0 } };
	char cb[CMSG_SPACE(sizeof(int) * 64)];
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = 2 };
	if (nfds) {
		memset(cb, 0, sizeof(cb));
		mh.msg_control = cb;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)nfds);
		struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * (size_t)nfds);
	}
	ssize_t want = (ssize_t)(VMSG_HDR + iov[1].iov_len);
	return sendmsg(v->fd, &mh, MSG_NOSIGNAL) == want ? 0 : -1;
}

/* 0: got a message; -1: closed or garbage; -2: timeout */
int vu_recv(struct vu *v, struct vmsg *m, int *fd)
{
	size_t got = 0, want = VMSG_HDR;
	uint64_t end = now_ns() + (uint64_t)v->timeout_ms * 1000000ull;
	if (fd)
		*fd = -1;
	while (got < want) {
		char cb[CMSG_SPACE(sizeof(int) * 8)];
		struct iovec iov = { (uint8_t *)m + got, want - got };
		struct msghdr mh = {
			.msg_iov = &iov, .msg_iovlen = 1, .msg_control = cb, .msg_controllen = sizeof(cb)
		};
		struct pollfd pf = { v->fd, POLLIN, 0 };
		uint64_t t = now_ns();
		if (t >= end || poll(&pf, 1, (int)((end - t) / 1000000) + 1) == 0)
			return -2;
		ssize_t n = recvmsg(v->fd, &mh, MSG_CMSG_CLOEXEC);
		if (n <= 0)
			return -1;
		struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
		if (c && c->cmsg_type == SCM_RIGHTS) {
			int f;
			memcpy(&f, CMSG_DATA(c), sizeof(f));
			if (fd && *fd < 0)
				*fd = f;
			else
				close(f);
		}
		got += (size_t)n;
		if (got == VMSG_HDR && want == VMSG_HDR) {
			if (m->size > sizeof(m->payload))
				return -1;
			want += m->size;
		}
	}
	return 0;
}

/* A request without a reply of its own: waits for the ack when REPLY_ACK is on.
 * 0 ok, >0 refused by ack, -1 closed, -2 no ack in time */
int vu_set(struct vu *v, uint32_t req, const void *p, uint32_t size, const int *fds, int nfds)
{
	struct vmsg m;
	if (vu_send(v, req, v->reply_ack ? MSG_NEED_REPLY : 0, p, size, fds, nfds))
		return -1;
	if (!v->reply_ack)
		return 0;
	int rc = vu_recv(v, &m, NULL);
	if (rc)
		return rc;
	if (m.request != req || !(m.flags & MSG_REPLY) || m.size != 8)
		return -1;
	uint64_t val;
	memcpy(&val, m.payload, 8);
	return val ? 1 : 0;
}

int vu_get(struct vu *v, uint32_t req, const void *p, uint32_t size, struct vmsg *m, int *fd)
{
	if (vu_send(v, req, 0, p, size, NULL, 0))
		return -1;
	int rc = vu_recv(v, m, fd);
	if (rc)
		return rc;
	return m->request == req && (m->flags & (MSG_REPLY | 3)) == (MSG_REPLY | MSG_VERSION) ? 0 : -1;
}

int vu_get_u64(struct vu *v, uint32_t req, uint64_t *out)
{
	struct vmsg m;
	int rc = vu_get(v, req, NULL, 0, &m, NULL);
	if (rc || m.size != 8)
		return rc ? rc : -1;
	memcpy(out, m.payload, 8);
	return 0;
}

int vu_get_config(struct vu *v, uint32_t off, uint32_t size, void *out)
{
	struct vconfig c = { off, size, 0, { 0 } };
	struct vmsg m;
	int rc = vu_get(v, GET_CONFIG, &c, 12 + size, &m, NULL);
	if (rc)
		return rc;
	if (m.size != 12 + size)
		return 1;
	memcpy(out, m.payload + 12, size);
	return 0;
}

int vu_negotiate(struct vu *v)
{
	uint64_t n = 1;
	if (vu_get_u64(v, GET_FEATURES, &v->offered))
		return -1;
	v->features = v->offered & (v->want | F_PROTOCOL);
	v->pfeatures = v->poffered = 0;
	if (vu_set(v, SET_OWNER, NULL, 0, NULL, 0))
		return -1;
	if (v->offered & F_PROTOCOL) {
		if (vu_get_u64(v, GET_PROTOCOL_FEATURES, &v->poffered))
			return -1;
		v->pfeatures = v->poffered & v->pwant;
		if (vu_set(v, SET_PROTOCOL_FEATURES, &v->pfeatures, 8, NULL, 0))
			return -1;
		v->reply_ack = v->pfeatures & PF_REPLY_ACK;
		if (v->pfeatures & PF_MQ && vu_get_u64(v, GET_QUEUE_NUM, &n))
			return -1;
	}
	v->max_queues = (uint32_t)n;
	if (vu_set(v, SET_FEATURES, &v->features, 8, NULL, 0))
		return -1;
	memset(&v->cfg, 0, sizeof(v->cfg));
	if (v->pfeatures & PF_CONFIG && vu_get_config(v, 0, sizeof(v->cfg), &v->cfg))
		return -1;
	return 0;
}

/* One memfd holds every region; guard bytes lie between them in the file (a back-end may
 * map them, but must never touch them), and wide holes between them in guest addresses. */
size_t region_off(const struct mem *m, unsigned i)
{
	return GUARD + i * (m->rsize + GUARD);
}
uint64_t region_gpa(const struct mem *m, unsigned i)
{
	(void)m;
	return 0x100000ull + i * 0x100000000ull;
}

int vu_mem_create(struct vu *v, size_t bytes, unsigned nreg)
{
	struct mem *m = &v->m;
	memset(m, 0, sizeof(*m));
	m->nreg = nreg;
	m->rsize = (bytes / nreg + 0x1fffff) & ~(size_t)0x1fffff;
	m->fsize = region_off(m, nreg);
	m->fd = memfd_create("vuload", MFD_CLOEXEC);
	if (m->fd < 0 || ftruncate(m->fd, (off_t)m->fsize))
		return -1;
	m->base = mmap(NULL, m->fsize, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	return m->base == MAP_FAILED ? -1 : 0;
}

void *mem_alloc(struct mem *m, unsigned r, size_t size, size_t align)
{
	size_t o = (m->next[r] + align - 1) & ~(align - 1);
	if (o + size > m->rsize)
		die("guest memory region %u exhausted", r);
	m->next[r] = o + size;
	return m->base + region_off(m, r) + o;
}

uint64_t mem_gpa(const struct mem *m, const void *p)
{
	size_t o = (size_t)((const uint8_t *)p - m->base), i = o / (m->rsize + GUARD);
	return region_gpa(m, (unsigned)i) + (o - region_off(m, (unsigned)i));
}

int vu_send_mem(struct vu *v)
{
	struct vmemtab t = { .n = v->m.nreg };
	int fds[8];
	for (unsigned i = 0; i < v->m.nreg; i++) {
		size_t o = region_off(&v->m, i);
		t.r[i] = (struct vregion){ region_gpa(&v->m, i), v->m.rsize,
			(uint64_t)(uintptr_t)(v->m.base + o), o };
		fds[i] = v->m.fd;
	}
	return vu_set(v, SET_MEM_TABLE, &t, (uint32_t)(8 + sizeof(struct vregion) * t.n), fds, (int)t.n);
}

int vu_start_queue(struct vu *v, struct vq *q, uint32_t base)
{
	struct vstate num = { q->index, q->size }, st = { q->index, base }, en = { q->index, 1 };
	struct vaddr a = { q->index, 0, (uint64_t)(uintptr_t)q->desc, (uint64_t)(uintptr_t)q->used,
		(uint64_t)(uintptr_t)q->avail, 0 };
	uint64_t i = q->index;
	if (vu_set(v, SET_VRING_NUM, &num, 8, NULL, 0) || vu_set(v, SET_VRING_BASE, &st, 8, NULL, 0) ||
		vu_set(v, SET_VRING_ADDR, &a, sizeof(a), NULL, 0) ||
		vu_set(v, SET_VRING_ERR, &i, 8, &q->err, 1) ||
		vu_set(v, SET_VRING_CALL, &i, 8, &q->call, 1) ||
		vu_set(v, SET_VRING_KICK, &i, 8, &q->kick, 1))
		return -1;
	return v->features & F_PROTOCOL ? vu_set(v, SET_VRING_ENABLE, &en, 8, NULL, 0) : 0;
}

/* Asks for an inflight buffer (inflight_fd < 0) or hands the known one back; call before starting queues. */
int vu_inflight(struct vu *v, uint16_t qsize)
{
	struct vinflight d = { 0, 0, (uint16_t)v->nq, qsize };
	struct vmsg m;
	if (v->inflight_fd < 0) {
		if (vu_get(v, GET_INFLIGHT_FD, &d, 20, &m, &v->inflight_fd) || v->inflight_fd < 0 ||
			m.size < 20)
			return -1;
		memcpy(&v->inflight, m.payload, 20);
	}
	return vu_set(v, SET_INFLIGHT_FD, &v->inflight, 20, &v->inflight_fd, 1);
}

void vu_close(struct vu *v, bool free_mem)
{
	if (v->fd >= 0)
		close(v->fd);
	v->fd = -1;
	if (free_mem && v->m.base) {
		munmap(v->m.base, v->m.fsize);
		close(v->m.fd);
		v->m.base = NULL;
	}
}

static void bits(const char *what, uint64_t f, const char *const *names, unsigned n)
{
	printf("\"%s\":\"0x%llx\",\"%s_names\":[", what, (unsigned long long)f, what);
	const char *sep = "";
	for (unsigned i = 0; i < 64; i++)
		if (f & BIT(i)) {
			if (i < n && names[i])
				printf("%s\"%s\"", sep, names[i]);
			else
				printf("%s\"bit%u\"", sep, i);
			sep = ",";
		}
	printf("],");
}

void vu_print_info(struct vu *v)
{
	static const char *const fn[] = { [1] = "SIZE_MAX",
		[2] = "SEG_MAX",
		[4] = "GEOMETRY",
		[5] = "RO",
		[6] = "BLK_SIZE",
		[9] = "FLUSH",
		[10] = "TOPOLOGY",
		[11] = "CONFIG_WCE",
		[12] = "MQ",
		[13] = "DISCARD",
		[14] = "WRITE_ZEROES",
		[26] = "LOG_ALL",
		[28] = "INDIRECT_DESC",
		[29] = "EVENT_IDX",
		[30] = "PROTOCOL_FEATURES",
		[32] = "VERSION_1",
		[33] = "ACCESS_PLATFORM",
		[34] = "RING_PACKED",
		[35] = "IN_ORDER" };
	static const char *const pn[] = { "MQ", "LOG_SHMFD", "RARP", "REPLY_ACK", "MTU", "BACKEND_REQ",
		"CROSS_ENDIAN", "CRYPTO", "PAGEFAULT", "CONFIG", "BACKEND_SEND_FD", "HOST_NOTIFIER",
		"INFLIGHT_SHMFD", "RESET_DEVICE", "INBAND_NOTIFICATIONS", "CONFIGURE_MEM_SLOTS", "STATUS" };
	const struct blkcfg *c = &v->cfg;
	printf("{");
	bits("features", v->offered, fn, 36);
	bits("protocol", v->poffered, pn, 17);
	printf("\"max_queues\":%u,\"capacity\":%llu,\"size_max\":%u,\"seg_max\":%u,\"blk_size\":%u,\"phys_"
	       "exp\":%u,"
	       "\"min_io\":%u,\"opt_io\":%u,\"wce\":%u,\"num_queues\":%u,\"max_discard\":%u,\"max_discard_"
	       "seg\":%u,"
	       "\"max_wz\":%u,\"max_wz_seg\":%u,\"wz_may_unmap\":%u}\n",
		v->max_queues, (unsigned long long)c->capacity, c->size_max, c->seg_max, c->blk_size,
		c->phys_exp, c->min_io, c->opt_io, c->wce, c->num_queues, c->max_discard, c->max_discard_seg,
		c->max_wz, c->max_wz_seg, c->wz_may_unmap);
}
