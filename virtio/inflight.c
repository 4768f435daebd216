/* virtio/inflight.c -- a file of shared memory, and its mapping. */
#include "virtio/inflight.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virtio/foreign_memory.h"
#include "virtio/vring.h"

struct inflight {
	struct inflight_area area;
	void *mapping;
	char *base; /* of the first record */
};

int inflight_create(uint64_t features, struct inflight_area *area)
{
	int fd, error;

	if (area->num_queues == 0 || !vring_size_is_valid(features, area->queue_size))
		return -EINVAL;
	area->offset = 0;
	area->size = area->num_queues * vring_record_size(features, area->queue_size);
	fd = memfd_create("vnbd in flight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)area->size) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK)) {
		error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

static int check_file(const struct inflight_area *area, int fd, const char **why)
{
	struct stat file;

	*why = "fstat";
	if (fstat(fd, &file) < 0)
		return -errno;
	*why = "its file is not a memory file";
	if (!S_ISREG(file.st_mode))
		return -EINVAL;
	*why = "it is longer than its file, or has no bytes";
	if (area->size == 0 || area->size > (uint64_t)file.st_size ||
		area->offset > (uint64_t)file.st_size - area->size)
		return -EINVAL;
	*why = "its offset is no multiple of 64";
	return area->offset % 64 ? -EINVAL : 0;
}

int inflight_map(const struct inflight_area *area, int fd, struct inflight **out, const char **why)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), before = area->offset & (page - 1);
	int error = check_file(area, fd, why);
	struct inflight *inflight;

	if (error)
		return error;
	*why = "out of memory";
	inflight = malloc(sizeof(*inflight));
	if (!inflight)
		return -ENOMEM;
	inflight->area = *area;
	inflight->mapping = foreign_memory_map(fd, (off_t)(area->offset - before), before + area->size, page);
	if (!inflight->mapping) {
		error = errno;
		*why = "mmap";
		free(inflight);
		return -error;
	}
	inflight->base = (char *)inflight->mapping + before;
	*out = inflight;
	return 0;
}

void inflight_free(struct inflight *inflight)
{
	if (!inflight)
		return;
	foreign_memory_unmap(inflight->mapping);
	free(inflight);
}

void inflight_clear(struct inflight *inflight)
{
	memset(inflight->base, 0, inflight->area.size);
}

void *inflight_record(const struct inflight *inflight, uint64_t features, unsigned index, uint64_t *bytes)
{
	uint64_t each = vring_record_size(features, inflight->area.queue_size), at = index * each;

	*bytes = 0;
	if (index < inflight->area.num_queues && at + each <= inflight->area.size)
		*bytes = each;
	return inflight->base + (*bytes ? at : 0);
}
