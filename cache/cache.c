/* cache/cache.c -- a cache mode: what its row of modes.def makes of each request, above a file. */
#include "cache/cache.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/align.h"
#include "cache/disk_file.h"
#include "cache/disk_overlay.h"
#include "conf/container.h"
#include "conf/log.h"

static const struct mode {
	const char *name;
	bool bypass_page_cache, every_write_stable, obey_flush;
} modes[CACHE_MODES] = {
#define CACHE_MODE(name, bypass_page_cache, every_write_stable, obey_flush) \
	[CACHE_##name] = { #name, bypass_page_cache, every_write_stable, obey_flush },
#include "cache/modes.def"
#undef CACHE_MODE
};

int cache_mode_named(const char *name)
{
	for (int mode = 0; mode < CACHE_MODES; mode++)
		if (strcmp(modes[mode].name, name) == 0)
			return mode;
	return -EINVAL;
}

const char *cache_mode_name(enum cache_mode mode)
{
	return modes[mode].name;
}

struct cache {
	struct disk disk;
	struct disk *below; /* owned */
	/* borrowed: below, or what is put above it: cache_divert(). shared: any thread writes, all read, once a request. */
	_Atomic(struct disk *) next;
	unsigned flags_added[BLOCK_OPS]; /* to every request of that kind */
	unsigned flags_kept;
	bool passes_flush,
		obeys_flush; /* only the second: there is nothing left to do, as long as all went well */
};

static int cache_submit(struct disk *disk, struct block_req *req)
{
	struct cache *cache = container_of(disk, struct cache, disk);

	if (req->op == BLOCK_FLUSH && !cache->passes_flush)
		return cache->obeys_flush && disk_has_lost(cache->below) ? -EIO : 0;
	req->flags = (req->flags & cache->flags_kept) | cache->flags_added[req->op];
	return disk_submit(atomic_load_explicit(&cache->next, memory_order_acquire), req);
}

static void cache_measure(struct disk *disk)
{
	struct cache *cache = container_of(disk, struct cache, disk);

	disk_measure(cache->below);
	disk->facts.size = cache->below->facts.size;
}

static bool cache_has_lost(struct disk *disk)
{
	return disk_has_lost(container_of(disk, struct cache, disk)->below);
}

static void cache_free(struct disk *disk)
{
	struct cache *cache = container_of(disk, struct cache, disk);

	disk_free(cache->below);
	free(cache);
}

static void take_mode(struct cache *cache, const struct mode *mode)
{
	static const struct disk_ops ops = { .submit = cache_submit,
		.measure = cache_measure,
		.has_lost = cache_has_lost,
		.free = cache_free };

	cache->disk.ops = &ops;
	cache->disk.facts = cache->below->facts;
	cache->flags_kept = mode->obey_flush ? ~0u : ~(unsigned)BLOCK_FUA;
	cache->obeys_flush = mode->obey_flush;
	cache->passes_flush = mode->obey_flush && !mode->every_write_stable;
	if (mode->every_write_stable) {
		cache->flags_added[BLOCK_WRITE] = BLOCK_FUA;
		cache->flags_added[BLOCK_TRIM] = BLOCK_FUA;
		cache->flags_added[BLOCK_ZERO] = BLOCK_FUA;
		cache->disk.facts.volatile_cache = false;
	}
}

/* The file, and above it what makes any extent possible where the file wants blocks. */
static int open_aligned(
	const char *path, const struct file_manner *manner, struct disk **out, char *why, size_t why_size)
{
	struct file_grids grids;
	struct disk *file;
	int error = disk_file_open(path, manner, &file, why, why_size);

	if (error)
		return error;
	if (file->facts.block_size_min == 1) {
		*out = file;
		return 0;
	}
	grids = disk_file_grids(file);
	error = align_open(file, grids.memory, grids.space, out);
	if (error) {
		snprintf(why, why_size, "%s: %s", path, strerror(-error));
		disk_free(file);
	}
	return error;
}

/* @manner: direct is the mode's. */
static int open_as(const char *path, enum cache_mode mode, struct file_manner manner, struct disk **out,
	char *why, size_t why_size)
{
	manner.direct = modes[mode].bypass_page_cache;
	return open_aligned(path, &manner, out, why, why_size);
}

int cache_open_below(
	const char *path, enum cache_mode mode, bool readonly, struct disk **out, char *why, size_t why_size)
{
	const struct file_manner manner = { .readonly = readonly };

	return open_as(path, mode, manner, out, why, why_size);
}

int cache_open_overlay(const char *path, const char *overlay, enum cache_mode mode, struct disk **out,
	char *why, size_t why_size)
{
	if (modes[mode].bypass_page_cache) {
		snprintf(why, why_size, "cache=%s bypasses the page cache, which an overlay needs",
			modes[mode].name);
		return -EINVAL;
	}
	return overlay_open(path, overlay, out, why, why_size);
}

int cache_apply(enum cache_mode mode, struct disk *below, const char *volatile_name, struct disk **out)
{
	struct cache *cache = calloc(1, sizeof(*cache));

	if (!cache) {
		disk_free(below);
		return -ENOMEM;
	}
	cache->below = below;
	atomic_init(&cache->next, below);
	take_mode(cache, &modes[mode]);
	if (volatile_name && !modes[mode].obey_flush && !below->facts.readonly)
		log_warning("cache=%s: flushes of %s are ignored", modes[mode].name, volatile_name);
	*out = &cache->disk;
	return 0;
}

struct disk *cache_below(struct disk *disk)
{
	return container_of(disk, struct cache, disk)->below;
}

void cache_divert(struct disk *disk, struct disk *layer)
{
	struct cache *cache = container_of(disk, struct cache, disk);

	atomic_store_explicit(&cache->next, layer ? layer : cache->below, memory_order_release);
}

/* @path: for @why. */
static int apply_to_file(const char *path, enum cache_mode mode, struct disk *below,
	const char *volatile_name, struct disk **out, char *why, size_t why_size)
{
	int error = cache_apply(mode, below, volatile_name, out);

	if (error)
		snprintf(why, why_size, "%s: %s", path, strerror(-error));
	return error;
}

int cache_open(
	const char *path, enum cache_mode mode, bool readonly, struct disk **out, char *why, size_t why_size)
{
	struct disk *below;
	int error = cache_open_below(path, mode, readonly, &below, why, why_size);

	return error ? error : apply_to_file(path, mode, below, path, out, why, why_size);
}

int cache_open_in(const struct folder *folder, const char *path, enum cache_mode mode, bool readonly,
	bool looks, struct disk **out, char *why, size_t why_size)
{
	const struct file_manner manner = { .folder = folder, .readonly = readonly, .looks = looks };
	struct disk *below;
	int error = open_as(path, mode, manner, &below, why, why_size);

	return error ? error : apply_to_file(path, mode, below, NULL, out, why, why_size);
}
