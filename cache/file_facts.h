/* cache/file_facts.h -- what the kernel says of an open regular file or block device. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* A file or device that wants a coarser grid is refused. */
#define FILE_GRID_MAX (64u << 10)

struct file_facts {
	uint64_t size; /* bytes */
	bool is_device;
	bool cannot_zero_fast; /* a device that says it has no command for it */
	bool rotational;       /* false where nobody knows */
	/* Powers of two, up to FILE_GRID_MAX. */
	uint32_t sector; /* what fallocate(2) must be a multiple of: a device's logical block; 1 for a file */
	uint32_t space_grid;	/* what fallocate(2) frees or zeroes without touching a page */
	uint32_t direct_grid;	/* O_DIRECT: offsets and lengths must be multiples */
	uint32_t direct_memory; /* O_DIRECT: addresses must be multiples */
	/* A power of two, 4096 .. 32 MiB. */
	uint32_t preferred_block;
};

/* @fd: open for reading; with O_DIRECT if @direct, else direct_grid and direct_memory are 1. @stat: its fstat(2).
 * Returns 0, or -errno and in @step what failed, for an operator: of the device's ioctls; -EINVAL: @direct, and the
 * filesystem cannot. */
int file_facts_get(int fd, const struct stat *stat, bool direct, struct file_facts *facts, const char **step);
