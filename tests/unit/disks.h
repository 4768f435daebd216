/* tests/unit/disks.h -- for tests of disks: temporary files, and requests that are waited for. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "cache/cache.h"
#include "cache/disk.h"
#include "conf/container.h"

enum { TEMPORARY_FILES = 32 };
static char temporary_paths[TEMPORARY_FILES][256];
static unsigned temporary_count;

static inline void remove_temporary_files(void)
{
	while (temporary_count > 0)
		unlink(temporary_paths[--temporary_count]);
}

/* A file of @size bytes in TMPDIR or /var/tmp (a real filesystem more often than /tmp), which dies with the test
 * program, however its tests end. */
static inline void temporary_file(char *path, size_t path_size, uint64_t size)
{
	const char *folder = getenv("TMPDIR");
	int fd;

	if (temporary_count == 0)
		atexit(remove_temporary_files);
	assert_in_range(temporary_count, 0, TEMPORARY_FILES - 1);
	snprintf(path, path_size, "%s/vnbd-test-XXXXXX", folder ? folder : "/var/tmp");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	snprintf(temporary_paths[temporary_count++], 256, "%s", path);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static inline struct disk *open_cache(const char *path, const char *mode)
{
	char why[256] = "";
	struct disk *disk = NULL;

	if (cache_open(path, (enum cache_mode)cache_mode_named(mode), false, &disk, why, sizeof(why)) != 0)
		fail_msg("%s", why);
	return disk;
}

/* One request and its wait. */
struct asked {
	struct block_req req;
	struct iovec iov;
	int status;
};

static inline void on_asked(struct block_req *req, int status)
{
	struct asked *asked = container_of(req, struct asked, req);

	asked->status = status;
	uring_stop(req->ring);
}

/* Gives @asked->req to @disk and runs its ring until it is done. Returns its status. */
static inline int ask(struct disk *disk, struct uring *ring, struct asked *asked)
{
	int status;

	asked->req.ring = ring;
	asked->req.done = on_asked;
	status = disk_submit(disk, &asked->req);
	if (status != DISK_PENDING)
		return status;
	ring->stopping = false;
	uring_run(ring);
	return asked->status;
}

static inline int ask_range(struct disk *disk, struct uring *ring, enum block_op op, unsigned flags,
	uint64_t offset, uint64_t length)
{
	struct asked asked = { .req = { .op = op, .flags = flags, .offset = offset, .length = length } };

	return ask(disk, ring, &asked);
}

static inline int ask_data(struct disk *disk, struct uring *ring, enum block_op op, unsigned flags,
	uint64_t offset, void *data, size_t length)
{
	struct asked asked = { .iov = { .iov_base = data, .iov_len = length } };

	asked.req = (struct block_req){ .op = op,
		.flags = flags,
		.offset = offset,
		.length = length,
		.iov = &asked.iov,
		.iov_count = 1 };
	return ask(disk, ring, &asked);
}
