/* cache/disk_overlay.c -- sends each request to the base, to the store, or on a longer way. */
#include "cache/disk_overlay.h"

#include <stdlib.h>

#include "cache/disk_file.h"
#include "cache/identity.h"
#include "cache/overlay.h"
#include "cache/overlay_file.h"
#include "conf/container.h"

struct overlay *overlay_of(struct disk *disk)
{
	return container_of(disk, struct overlay, disk);
}

static int to_store(struct overlay *overlay, struct block_req *req)
{
	req->offset += overlay->layout.data_at;
	return disk_submit(overlay->store, req);
}

/* A request that leaves blocks where they are: all of it goes one way, or it is spread. */
static int overlay_pass(struct overlay *overlay, struct block_req *req)
{
	uint64_t block = req->offset / OVERLAY_BLOCK, run_end;
	uint64_t end = overlay_blocks_end(req->offset + req->length);
	bool here = overlay_map_run(&overlay->map, block, end, &run_end);

	if (run_end < end)
		return carry_start(overlay, req);
	if (here)
		return to_store(overlay, req);
	return req->op == BLOCK_TRIM ? 0 : disk_submit(overlay->base, req);
}

static void on_written(struct block_req *req, int status)
{
	struct overlay *overlay = overlay_of(req->hold.disk);

	req->done = req->hold.done;
	disk_finish(req, status == 0 ? overlay_commit_submit(&overlay->commit, req) : status);
}

/* FUA, of blocks that are here, but not yet by the durable map. */
static int write_and_commit(struct overlay *overlay, struct block_req *req)
{
	int status;

	req->flags &= ~(unsigned)BLOCK_FUA;
	req->hold.disk = &overlay->disk;
	req->hold.done = req->done;
	req->done = on_written;
	status = to_store(overlay, req);
	if (status == DISK_PENDING)
		return status;
	req->done = req->hold.done;
	return status == 0 ? overlay_commit_submit(&overlay->commit, req) : status;
}

static int overlay_change(struct overlay *overlay, struct block_req *req)
{
	uint64_t block = req->offset / OVERLAY_BLOCK;
	uint64_t end = overlay_blocks_end(req->offset + req->length);

	if (!overlay_map_has(&overlay->map, block, end))
		return overlay_fill_submit(overlay, req);
	if (req->flags & BLOCK_FUA && !overlay_map_is_durable(&overlay->map, block, end))
		return write_and_commit(overlay, req);
	return to_store(overlay, req);
}

static int overlay_flush(struct overlay *overlay, struct block_req *req)
{
	if (!overlay_keeps(overlay))
		return 0;
	if (overlay_map_is_clean(&overlay->map))
		return disk_submit(overlay->store, req);
	return overlay_commit_submit(&overlay->commit, req);
}

static int overlay_submit(struct disk *disk, struct block_req *req)
{
	static int (*const submit[BLOCK_OPS])(struct overlay * overlay, struct block_req * req) = {
		[BLOCK_READ] = overlay_pass,
		[BLOCK_WRITE] = overlay_change,
		[BLOCK_FLUSH] = overlay_flush,
		[BLOCK_TRIM] = overlay_pass,
		[BLOCK_ZERO] = overlay_change,
		[BLOCK_CACHE] = overlay_pass,
		[BLOCK_STATUS] = carry_start,
	};
	struct overlay *overlay = overlay_of(disk);

	if (!overlay_keeps(overlay))
		req->flags &= ~(unsigned)BLOCK_FUA;
	return submit[req->op](overlay, req);
}

/* Without a file there is nothing to be made stable. */
static bool overlay_has_lost(struct disk *disk)
{
	return overlay_keeps(overlay_of(disk)) && disk_has_lost(overlay_of(disk)->store);
}

static void fini(struct overlay *overlay)
{
	overlay_commit_fini(&overlay->commit);
	range_lock_fini(&overlay->lock);
	carry_pool_fini(&overlay->pool);
	overlay_map_fini(&overlay->map);
	free(overlay);
}

static void overlay_free(struct disk *disk)
{
	struct overlay *overlay = overlay_of(disk);

	if (overlay_keeps(overlay))
		overlay_file_settle(overlay->file, &overlay->layout, &overlay->map);
	disk_free(overlay->store);
	disk_free(overlay->base);
	fini(overlay);
}

static struct disk_facts facts_of(const struct overlay *overlay)
{
	const struct disk_facts *base = &overlay->base->facts, *store = &overlay->store->facts;

	return (struct disk_facts){
		.size = base->size,
		.block_size_min = 1,
		.block_size_preferred = OVERLAY_BLOCK,
		.data_max = (uint32_t)overlay_smaller(base->data_max, store->data_max),
		.volatile_cache = overlay_keeps(overlay),
		.can_flush = true,
		.can_fua = true,
		.can_trim = store->can_trim,
		.can_zero = store->can_zero,
		.can_fast_zero = store->can_fast_zero,
		.can_cache = base->can_cache && store->can_cache,
		.can_status = true,
		.can_multi_conn = true,
		.rotational = base->rotational || store->rotational,
		.identity = overlay_keeps(overlay) ? identity_join(base->identity, store->identity) : 0,
	};
}

int disk_overlay_new(struct disk *base, struct disk *store, struct disk *file, struct disk **out)
{
	static const struct disk_ops ops = {
		.submit = overlay_submit, .has_lost = overlay_has_lost, .free = overlay_free
	};
	struct overlay *overlay = calloc(1, sizeof(*overlay));
	int error;

	if (!overlay)
		return -ENOMEM;
	overlay->base = base;
	overlay->store = store;
	overlay->file = file;
	overlay->disk.ops = &ops;
	overlay->disk.facts = facts_of(overlay);
	error = overlay_layout_of(base->facts.size, &overlay->layout);
	if (error)
		goto free_overlay;
	error = overlay_map_init(&overlay->map, &overlay->layout);
	if (error)
		goto free_overlay;
	error = carry_pool_init(&overlay->pool, overlay);
	if (error)
		goto fini_map;
	if (overlay_keeps(overlay))
		error = overlay_file_load(disk_file_fd(file), &overlay->layout, &overlay->map);
	else
		overlay->layout.data_at = 0;
	if (error)
		goto fini_pool;
	range_lock_init(&overlay->lock, overlay_fill_granted);
	overlay_commit_init(&overlay->commit, store, &overlay->map, overlay->layout.durable_at);
	*out = &overlay->disk;
	return 0;

fini_pool:
	carry_pool_fini(&overlay->pool);
fini_map:
	overlay_map_fini(&overlay->map);
free_overlay:
	free(overlay);
	return error;
}
