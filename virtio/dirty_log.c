/* virtio/dirty_log.c -- a bitmap in shared memory. */
#include "virtio/dirty_log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/log.h"
#include "virtio/foreign_memory.h"

#define BYTE_REACH (8ull * DIRTY_LOG_PAGE)

struct dirty_log {
	atomic_uint refs;    /* shared: the transport, and each queue that marks */
	atomic_bool too_far; /* shared: somebody has marked what it has no bits for */
	void *mapping;
	uint8_t *bits; /* shared with the VMM: set here, cleared there, by atomic operations */
	uint64_t size; /* bytes */
};

static int check_file(uint64_t size, uint64_t offset, int fd, const char **why)
{
	struct stat file;

	*why = "fstat";
	if (fstat(fd, &file) < 0)
		return -errno;
	*why = "its file is not a memory file";
	if (!S_ISREG(file.st_mode))
		return -EINVAL;
	*why = "it is longer than its file, or has no bytes";
	if (size == 0 || size > (uint64_t)file.st_size || offset > (uint64_t)file.st_size - size)
		return -EINVAL;
	return 0;
}

int dirty_log_new(uint64_t size, uint64_t offset, int fd, struct dirty_log **out, const char **why)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), before = offset & (page - 1);
	int error = check_file(size, offset, fd, why);
	struct dirty_log *log;

	if (error)
		return error;
	*why = "out of memory";
	log = malloc(sizeof(*log));
	if (!log)
		return -ENOMEM;
	log->size = size;
	log->mapping = foreign_memory_map(fd, (off_t)(offset - before), before + size, page);
	if (!log->mapping) {
		error = errno;
		*why = "mmap";
		free(log);
		return -error;
	}
	log->bits = (uint8_t *)log->mapping + before;
	atomic_init(&log->refs, 1);
	atomic_init(&log->too_far, false);
	*out = log;
	return 0;
}

struct dirty_log *dirty_log_get(struct dirty_log *log)
{
	atomic_fetch_add(&log->refs, 1);
	return log;
}

void dirty_log_put(struct dirty_log *log)
{
	if (!log || atomic_fetch_sub(&log->refs, 1) != 1)
		return;
	foreign_memory_unmap(log->mapping);
	free(log);
}

uint64_t dirty_log_reach(const struct dirty_log *log)
{
	return log->size > UINT64_MAX / BYTE_REACH ? UINT64_MAX : log->size * BYTE_REACH;
}

/* The bits first .. last % 8 of one byte; sequentially consistent, so after what was written. */
static void mark_byte(struct dirty_log *log, uint64_t byte, unsigned first, unsigned last)
{
	uint8_t mask = (uint8_t)(0xffu << first) & (uint8_t)(0xffu >> (7 - last));

	__atomic_fetch_or(&log->bits[byte], mask, __ATOMIC_SEQ_CST);
}

void dirty_log_mark(struct dirty_log *log, uint64_t guest_address, uint64_t length)
{
	uint64_t reach = dirty_log_reach(log), first, last;

	if (length == 0)
		return;
	if (length > reach || guest_address > reach - length) {
		if (!atomic_exchange(&log->too_far, true))
			log_error("the VMM's log of dirty pages ends at %llu, before what we write: "
				  "migrating this "
				  "guest would damage its memory",
				(unsigned long long)reach);
		if (guest_address >= reach)
			return;
		length = reach - guest_address;
	}
	first = guest_address / DIRTY_LOG_PAGE;
	last = (guest_address + length - 1) / DIRTY_LOG_PAGE;
	for (uint64_t byte = first / 8; byte <= last / 8; byte++)
		mark_byte(log, byte, byte == first / 8 ? first % 8 : 0, byte == last / 8 ? last % 8 : 7);
}
