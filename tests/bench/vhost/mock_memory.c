/* tests/bench/vhost/mock_memory.c -- what the front-end shared: addresses into pointers, checked. */
#include "mock.h"

#include <sys/mman.h>
#include <sys/stat.h>

struct reg regs[MOCK_REGIONS];
unsigned nregs;

void *at(uint64_t addr, uint64_t len, bool user, uint64_t align)
{
	for (unsigned i = 0; i < nregs; i++) {
		uint64_t b = user ? regs[i].uaddr : regs[i].gpa;
		if (addr >= b && addr - b <= regs[i].size && len <= regs[i].size - (addr - b) &&
			!(addr % align))
			return regs[i].base + (addr - b);
	}
	return NULL;
}

bool resolve(struct ring *r)
{
	bool p = features & F_PACKED;
	if (!r->num || r->num > 32768 || (!p && r->num & (r->num - 1)))
		return false;
	r->desc = at(r->d, 16ul * r->num, true, 16);
	r->avail = at(r->a, p ? 4 : 6 + 2ul * r->num, true, p ? 4 : 2);
	r->used = at(r->u, p ? 4 : 6 + 8ul * r->num, true, 4);
	return r->desc && r->avail && r->used;
}

size_t copy(struct iovec *v, int n, size_t skip, uint8_t *buf, size_t len, bool to)
{
	size_t done = 0;
	for (int i = 0; i < n && done < len; i++) {
		if (skip >= v[i].iov_len) {
			skip -= v[i].iov_len;
			continue;
		}
		size_t k = v[i].iov_len - skip < len - done ? v[i].iov_len - skip : len - done;
		if (to)
			memcpy((uint8_t *)v[i].iov_base + skip, buf + done, k);
		else
			memcpy(buf + done, (uint8_t *)v[i].iov_base + skip, k);
		done += k;
		skip = 0;
	}
	return done;
}

int set_mem(struct vmsg *m, int *fd, int nfd)
{
	struct vmemtab t;
	bool was[MOCK_QUEUES];
	if (m->size < 8 || m->size > sizeof(t))
		return -1;
	memcpy(&t, m->payload, m->size);
	if (!t.n || t.n > 8 || (int)t.n != nfd || m->size != 8 + 32 * t.n)
		return -1;
	for (int i = 0; i < MOCK_QUEUES; i++) {
		was[i] = rings[i].on;
		rings[i].on = false;
	}
	for (unsigned i = 0; i < nregs; i++)
		munmap(regs[i].map, regs[i].mlen);
	nregs = 0;
	for (unsigned i = 0; i < t.n; i++) {
		struct vregion *r = &t.r[i];
		struct stat st;
		size_t end = r->off + r->size;
		if (!r->size || end < r->size || r->gpa + r->size < r->gpa || r->uaddr + r->size < r->uaddr ||
			fstat(fd[i], &st) || (uint64_t)st.st_size < end)
			return -1;
		uint8_t *p = mmap(NULL, end, PROT_READ | PROT_WRITE, MAP_SHARED, fd[i], 0);
		if (p == MAP_FAILED)
			return -1;
		regs[nregs++] = (struct reg){ r->gpa, r->size, r->uaddr, p, p + r->off, end };
	}
	for (int i = 0; i < MOCK_QUEUES; i++)
		rings[i].on = was[i] && resolve(&rings[i]);
	return 0;
}
