/* cache/image.c -- copies what is data, and nothing else. */
#include "cache/image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { STEP = 64 << 10 };

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int write_all(int fd, const void *bytes, size_t length, uint64_t at)
{
	for (const char *from = bytes; length > 0;) {
		ssize_t done = pwrite(fd, from, length, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		from += done;
		at += (uint64_t)done;
		length -= (size_t)done;
	}
	return 0;
}

int image_fill(int to, uint64_t offset, uint64_t length, int from, uint64_t from_at)
{
	char step[STEP];

	while (length > 0) {
		ssize_t done = pread(from, step, smaller(length, sizeof(step)), (off_t)from_at);
		int error;

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -ENODATA;
		error = write_all(to, step, (size_t)done, offset);
		if (error)
			return error;
		offset += (uint64_t)done;
		from_at += (uint64_t)done;
		length -= (uint64_t)done;
	}
	return 0;
}

int image_zero(int to, uint64_t offset, uint64_t length)
{
	static const char zeroes[STEP];

	if (fallocate(to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) == 0)
		return 0;
	while (length > 0) {
		size_t step = smaller(length, sizeof(zeroes));
		int error = write_all(to, zeroes, step, offset);

		if (error)
			return error;
		offset += step;
		length -= step;
	}
	return 0;
}

/* Finds the first data from @at on. Returns whether there is any before @size, with where it begins and ends; a device, or
 * a file whose holes cannot be told, is data. */
static int next_data(int fd, uint64_t at, uint64_t size, uint64_t *start, uint64_t *end)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;

	if (at >= size || (data < 0 && errno == ENXIO))
		return 0;
	*start = data < 0 ? at : (uint64_t)data;
	hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
	*end = hole < 0 ? size : smaller((uint64_t)hole, size);
	return *start < size;
}

static int copy_data(int from, int to, uint64_t start, uint64_t length)
{
	off_t in = (off_t)start, out = (off_t)start;

	while (length > 0) {
		ssize_t done = copy_file_range(from, &in, to, &out, length, 0);

		if (done <= 0)
			return image_fill(to, (uint64_t)out, length, from, (uint64_t)in);
		length -= (uint64_t)done;
	}
	return 0;
}

int image_copy(int from, uint64_t from_size, int to, uint64_t size)
{
	int error = 0;

	if (ftruncate(to, 0) < 0)
		return -errno;
	if (ioctl(to, FICLONE, from) == 0)
		return ftruncate(to, (off_t)from_size) < 0 || ftruncate(to, (off_t)size) < 0 ? -errno : 0;
	if (ftruncate(to, (off_t)size) < 0)
		return -errno;
	for (uint64_t at = 0, start, end; !error && next_data(from, at, from_size, &start, &end); at = end)
		error = copy_data(from, to, start, end - start);
	return error;
}
