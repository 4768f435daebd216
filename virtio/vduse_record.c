/* virtio/vduse_record.c -- a file of records in VDUSE_RECORDS. */
#include "virtio/vduse_record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virtio/virtio_blk_wire.h"
#include "virtio/vduse.h"
#include "virtio/vring.h"

static void path_of(const char *name, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%s", VDUSE_RECORDS, name);
}

/* The driver chooses the layout later. */
static uint64_t bytes_of(unsigned ring_count, unsigned ring_size)
{
	size_t split = vring_record_size(0, ring_size);
	size_t packed = vring_record_size(VIRTIO_F_RING_PACKED, ring_size);

	return (uint64_t)ring_count * (split > packed ? split : packed);
}

static int check_size(int fd, uint64_t size)
{
	struct stat file;

	if (fstat(fd, &file) < 0)
		return -errno;
	return (uint64_t)file.st_size == size ? 0 : -ENOENT;
}

int vduse_record_open(const char *name, unsigned ring_count, unsigned ring_size, bool again,
	struct inflight **out, const char **why)
{
	struct inflight_area area = {
		.size = bytes_of(ring_count, ring_size),
		.num_queues = (uint16_t)ring_count,
		.queue_size = (uint16_t)ring_size,
	};
	char path[PATH_MAX];
	int fd, error;

	path_of(name, path);
	*why = "a folder for the record of requests in flight, " VDUSE_RECORDS;
	if (mkdir(VDUSE_RECORDS, S_IRWXU) < 0 && errno != EEXIST)
		return -errno;
	*why = "the record of requests in flight, in " VDUSE_RECORDS;
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (again ? 0 : O_CREAT | O_TRUNC), S_IRUSR | S_IWUSR);
	if (fd < 0)
		return -errno;
	if (again)
		error = check_size(fd, area.size);
	else
		error = posix_fallocate(fd, 0, (off_t)area.size) ? -ENOSPC : 0;
	if (!error)
		error = inflight_map(&area, fd, out, why);
	close(fd);
	return error;
}

void vduse_record_remove(const char *name)
{
	char path[PATH_MAX];

	path_of(name, path);
	unlink(path);
}
