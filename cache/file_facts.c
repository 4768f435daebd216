/* cache/file_facts.c -- statx(2), a block device's ioctls, sysfs, and a probe where all are silent. */
#include "cache/file_facts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PREFERRED_MIN	4096u
#define PREFERRED_MAX	(32u << 20)
#define DIRECT_GRID_MIN 512u

static bool is_power_of_two(uint32_t value)
{
	return value != 0 && (value & (value - 1)) == 0;
}

static int get_device_facts(int fd, struct file_facts *facts, const char **step)
{
	unsigned optimal = 0;
	int sector = 0;

	*step = "ioctl BLKGETSIZE64";
	if (ioctl(fd, BLKGETSIZE64, &facts->size) < 0)
		return -errno;
	*step = "ioctl BLKSSZGET";
	if (ioctl(fd, BLKSSZGET, &sector) < 0)
		return -errno;
	if (sector < 0 || !is_power_of_two((uint32_t)sector) || (uint32_t)sector > FILE_GRID_MAX)
		return -EINVAL;
	facts->sector = (uint32_t)sector;
	/* A hint that many devices do not give. */
	if (ioctl(fd, BLKIOOPT, &optimal) == 0 && is_power_of_two(optimal) && optimal >= PREFERRED_MIN &&
		optimal <= PREFERRED_MAX)
		facts->preferred_block = optimal;
	return 0;
}

static bool is_grid(uint32_t value)
{
	return is_power_of_two(value) && value <= FILE_GRID_MAX;
}

/* Returns whether the kernel knew. Zeroes mean that the file has no O_DIRECT at all. */
static bool ask_statx(int fd, struct file_facts *facts)
{
	struct statx found = { 0 };

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &found) < 0 || !(found.stx_mask & STATX_DIOALIGN))
		return false;
	facts->direct_grid = found.stx_dio_offset_align;
	facts->direct_memory = found.stx_dio_mem_align;
	return true;
}

/* Tries reads of growing size until the kernel takes one. */
static void probe_grid(int fd, struct file_facts *facts)
{
	void *memory = aligned_alloc(FILE_GRID_MAX, FILE_GRID_MAX);

	facts->direct_grid = 0;
	for (uint32_t grid = DIRECT_GRID_MIN; memory && grid <= FILE_GRID_MAX; grid *= 2)
		if (pread(fd, memory, grid, 0) >= 0) {
			facts->direct_grid = facts->direct_memory = grid;
			break;
		}
	free(memory);
}

static int get_direct_grid(int fd, struct file_facts *facts)
{
	if (!ask_statx(fd, facts)) {
		if (facts->is_device)
			facts->direct_grid = facts->direct_memory = facts->sector;
		else
			probe_grid(fd, facts);
	}
	return is_grid(facts->direct_grid) && is_grid(facts->direct_memory) ? 0 : -EINVAL;
}

/* Returns a number of sysfs about a device's queue, or -1. A partition has no queue: its disk is the folder above. */
static long queue_number(dev_t device, const char *name)
{
	static const char *const places[] = { "queue", "../queue" };
	long number = -1;

	for (unsigned i = 0; i < 2 && number < 0; i++) {
		char path[96];
		FILE *file;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s/%s", major(device), minor(device),
			places[i], name);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fscanf(file, "%ld", &number) !=
			1) /* NOLINT: the kernel writes a number, and a wrong one harms nothing */
			number = -1;
		fclose(file);
	}
	return number;
}

/* The filesystem's block, at least the grid of O_DIRECT. */
static uint32_t get_space_grid(int fd, const struct file_facts *facts)
{
	struct statfs found;
	uint32_t block = facts->sector;

	if (!facts->is_device && fstatfs(fd, &found) == 0 && found.f_bsize <= FILE_GRID_MAX &&
		is_grid((uint32_t)found.f_bsize))
		block = (uint32_t)found.f_bsize;
	return block > facts->direct_grid ? block : facts->direct_grid;
}

int file_facts_get(int fd, const struct stat *stat, bool direct, struct file_facts *facts, const char **step)
{
	dev_t device = S_ISBLK(stat->st_mode) ? stat->st_rdev : stat->st_dev;

	*facts = (struct file_facts){
		.size = (uint64_t)stat->st_size,
		.is_device = S_ISBLK(stat->st_mode),
		.rotational = queue_number(device, "rotational") == 1,
		.cannot_zero_fast =
			S_ISBLK(stat->st_mode) && queue_number(device, "write_zeroes_max_bytes") == 0,
		.sector = 1,
		.direct_grid = 1,
		.direct_memory = 1,
		.preferred_block = PREFERRED_MIN,
	};
	if (facts->is_device) {
		int error = get_device_facts(fd, facts, step);

		if (error)
			return error;
	}
	if (direct) {
		*step = "O_DIRECT, to bypass the page cache";
		if (get_direct_grid(fd, facts) < 0)
			return -EINVAL;
	}
	facts->space_grid = get_space_grid(fd, facts);
	if (facts->preferred_block < facts->direct_grid)
		facts->preferred_block = facts->direct_grid;
	return 0;
}
