/* cache/overlay_open.c -- a base, an overlay's file that belongs to it, and the disk over both. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cache/disk_file.h"
#include "cache/disk_overlay.h"
#include "cache/overlay_file.h"

struct complaint {
	char *why;
	size_t size;
};

static int open_store(const char *path, struct disk **out, const struct complaint *complaint)
{
	const struct file_manner manner = { .alone = true };

	return disk_file_open(path, &manner, out, complaint->why, complaint->size);
}

static int open_kept(const char *path, struct disk *base, const char *overlay, struct disk **out,
	const struct complaint *complaint)
{
	struct overlay_base identity;
	int error = overlay_base_of(disk_file_fd(base), base->facts.size, &identity);

	if (error) {
		snprintf(complaint->why, complaint->size, "%s: read: %s", path, strerror(-error));
		return error;
	}
	error = overlay_file_make(overlay, &identity, complaint->why, complaint->size);
	if (!error)
		error = open_store(overlay, out, complaint);
	if (error)
		return error;
	error = overlay_file_check(
		disk_file_fd(*out), overlay, &identity, path, complaint->why, complaint->size);
	if (error)
		disk_free(*out);
	return error;
}

static int open_temporary(struct disk *base, struct disk **out, const struct complaint *complaint)
{
	int fd = overlay_file_temporary(base->facts.size, complaint->why, complaint->size);
	char self[32];
	int error;

	if (fd < 0)
		return fd;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	error = open_store(self, out, complaint);
	close(fd);
	return error;
}

int overlay_open(const char *path, const char *overlay, struct disk **out, char *why, size_t why_size)
{
	const struct file_manner manner = { .readonly = true, .alone = true };
	const struct complaint complaint = { why, why_size };
	struct disk *base, *store;
	int error = disk_file_open(path, &manner, &base, why, why_size);

	if (error)
		return error;
	error = overlay ? open_kept(path, base, overlay, &store, &complaint)
			: open_temporary(base, &store, &complaint);
	if (error)
		goto free_base;
	error = disk_overlay_new(base, store, overlay ? store : NULL, out);
	if (!error)
		return 0;
	snprintf(why, why_size, "%s: overlay: %s", overlay ? overlay : path, strerror(-error));
	disk_free(store);
free_base:
	disk_free(base);
	return error;
}
