/* cache/folder.h -- files of one folder, by names that others choose and that must not lead out of it. */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

struct folder {
	int fd; /* owned by whoever made it: O_PATH or open for reading */
};

/* folder_file_open() - openat(2) that follows a symbolic link only where it stays in the folder.
 * Returns a descriptor or -errno; -EXDEV: it leads out of the folder. Spec: openat2(2), RESOLVE_BENEATH. */
int folder_file_open(const struct folder *folder, const char *name, int flags);

/* As stat(2). Returns 0 or -errno, as folder_file_open(). */
int folder_file_stat(const struct folder *folder, const char *name, struct stat *out);
