/* cache/overlay_file.h -- an overlay's file: made, recognized, and its maps moved to memory and back, without a ring.
 *
 * A file that is made gets its name when it is complete and synced. It has room for its maps; that for data comes as data
 * comes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cache/disk.h"
#include "cache/overlay_format.h"
#include "cache/overlay_map.h"

/* overlay_base_of() - what tells @fd's file or device, of @size bytes, from others: reads some of it.
 * Returns 0 or -errno of fstat(2) or pread(2). */
int overlay_base_of(int fd, uint64_t size, struct overlay_base *out);

/* overlay_file_make() - a new file at @path for @base, if there is none. Returns 0; or -errno with a line in @why. */
int overlay_file_make(const char *path, const struct overlay_base *base, char *why, size_t why_size);

/* overlay_file_check() - whether @fd's file is an overlay of @base. @path and @base_path: for @why.
 * Returns 0; or with a line in @why -EINVAL: it is another's, or none; or -errno of pread(2). */
int overlay_file_check(int fd, const char *path, const struct overlay_base *base, const char *base_path,
	char *why, size_t why_size);

/* overlay_file_load() - the maps of @fd's file into @map, which is empty; the file must be locked. Where the volatile map
 * does not count, it becomes as the durable one, and counts from then on. Returns 0 or -errno. */
int overlay_file_load(int fd, const struct overlay_layout *layout, struct overlay_map *map);

/* overlay_file_settle() - make all that @map has durable, when no request is in flight. What fails is told in the log, and
 * lost at most if the machine fails, too. */
void overlay_file_settle(struct disk *file, const struct overlay_layout *layout, struct overlay_map *map);

/* overlay_file_temporary() - a file without a name in TMPDIR or /var/tmp, of @size bytes that are a hole. Returns a
 * descriptor, or -errno with a line in @why. */
int overlay_file_temporary(uint64_t size, char *why, size_t why_size);
