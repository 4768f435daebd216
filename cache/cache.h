/* cache/cache.h -- what an export promises about durability: a cache mode over a file or block device.
 *
 * The modes and what they mean are rows of cache/modes.def. The disk that cache_open() returns is shared by all
 * workers: it may be submitted to from any thread that has a ring, and completes there.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cache/disk.h"
#include "cache/folder.h"

enum cache_mode {
#define CACHE_MODE(name, bypass_page_cache, every_write_stable, obey_flush) CACHE_##name,
#include "cache/modes.def"
#undef CACHE_MODE
	CACHE_MODES,
};

/* Returns the mode of that name, or -EINVAL. */
int cache_mode_named(const char *name);
const char *cache_mode_name(enum cache_mode mode);

/* cache_open_below() - open @path, a regular file or a block device, as @mode wants to have it below: with or without the
 * page cache. What tests other people's storage (a volatile cache, a record) may be put above it before cache_apply().
 *
 * Returns 0 and a disk in @out, the caller's until disk_free() or cache_apply(); or -errno with one line in @why (@why_size
 * bytes) that names the path, the step that failed and the errno, for an operator: of open(2), fstat(2) and the device's
 * ioctls; -EINVAL: neither a file nor a block device; O_DIRECT asked for where the filesystem has none;
 * @readonly: opens so, and so are the disk's facts.
 */
int cache_open_below(
	const char *path, enum cache_mode mode, bool readonly, struct disk **out, char *why, size_t why_size);

/* cache_open_overlay() - as cache_open_below(), of @path under an overlay, as overlay_open() has it
 * (cache/disk_overlay.h): the mode is the overlay's. -EINVAL also where it bypasses the page cache, in which the overlay's map
 * outlives a killed server. */
int cache_open_overlay(const char *path, const char *overlay, enum cache_mode mode, struct disk **out,
	char *why, size_t why_size);

/* cache_apply() - a disk that does with each request what @mode says, above @below, which it frees with itself.
 * @volatile_name: how the log calls what loses flushed data in a power cut, where the mode ignores flushes; NULL: the log
 * tells nothing.
 * Returns 0; or -ENOMEM, and @below is freed. */
int cache_apply(enum cache_mode mode, struct disk *below, const char *volatile_name, struct disk **out);

/* cache_below() - the disk below @disk, which is of cache_apply(); it stays @disk's. */
struct disk *cache_below(struct disk *disk);

/* cache_divert() - from now on @disk, which is of cache_apply(), gives its requests to @layer, which is above cache_below(@disk) and
 * has its facts; NULL: to cache_below(@disk) itself again. @layer: borrowed: outlives @disk, as requests may be in it until then.
 * Any thread; those in flight go on where they are. */
void cache_divert(struct disk *disk, struct disk *layer);

/* cache_open() - cache_open_below() and cache_apply(). */
int cache_open(
	const char *path, enum cache_mode mode, bool readonly, struct disk **out, char *why, size_t why_size);

/* cache_open_in() - as cache_open(), for a file of @folder that a client has asked for: it does not wait for locks, and
 * has nothing to tell that could fill the log. @path: the folder's path, '/' and the file's name; @folder is needed only
 * meanwhile.
 * @why_size may be 0: it costs milliseconds to find out who holds a lock.
 * @looks: for the facts alone: opened for reading, without locks, and given no requests. */
int cache_open_in(const struct folder *folder, const char *path, enum cache_mode mode, bool readonly,
	bool looks, struct disk **out, char *why, size_t why_size);
