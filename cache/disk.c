/* cache/disk.c -- the check that stands between foreign requests and any disk. */
#include "cache/disk.h"

static const struct {
	bool moves_data, changes, has_range;
	int past_end; /* what proto.md wants for a range beyond the export */
} traits[BLOCK_OPS] = {
	[BLOCK_READ] = { .moves_data = true, .has_range = true, .past_end = -EINVAL },
	[BLOCK_WRITE] = { .moves_data = true, .changes = true, .has_range = true, .past_end = -ENOSPC },
	[BLOCK_FLUSH] = { 0 },
	[BLOCK_TRIM] = { .changes = true, .has_range = true, .past_end = -EINVAL },
	[BLOCK_ZERO] = { .changes = true, .has_range = true, .past_end = -ENOSPC },
	[BLOCK_CACHE] = { .has_range = true, .past_end = -EINVAL },
	[BLOCK_STATUS] = { .has_range = true, .past_end = -EINVAL },
};

static bool has_ability(const struct disk_facts *facts, const struct block_req *req)
{
	if ((req->flags & BLOCK_FUA) && !facts->can_fua)
		return false;
	if ((req->flags & BLOCK_FAST_ZERO) && !facts->can_fast_zero)
		return false;
	switch (req->op) {
	case BLOCK_FLUSH:
		return facts->can_flush;
	case BLOCK_TRIM:
		return facts->can_trim;
	case BLOCK_ZERO:
		return facts->can_zero;
	case BLOCK_CACHE:
		return facts->can_cache;
	default:
		return true;
	}
}

int disk_check(const struct disk_facts *facts, const struct block_req *req)
{
	uint64_t size = facts->size;

	if (!has_ability(facts, req))
		return -ENOTSUP;
	if (traits[req->op].changes && facts->readonly)
		return -EROFS;
	if (!traits[req->op].has_range)
		return 0;
	if (req->offset > size || req->length > size - req->offset)
		return traits[req->op].past_end;
	if (req->length == 0 || (req->offset | req->length) & (facts->block_size_min - 1))
		return -EINVAL;
	if (traits[req->op].moves_data && req->length > facts->data_max)
		return -EINVAL;
	return 0;
}

int disk_status(struct disk *disk, struct block_req *req)
{
	if (disk->facts.can_status)
		return disk_submit(disk, req);
	req->extents.list[0] = (struct block_extent){ .length = req->length };
	req->extents.count = 1;
	return 0;
}

bool disk_extent_add(struct block_req *req, uint64_t length, uint64_t flags)
{
	unsigned count = req->extents.count;

	if (count > 0 && req->extents.list[count - 1].flags == flags) {
		req->extents.list[count - 1].length += length;
		return true;
	}
	if (count == req->extents.max)
		return false;
	req->extents.list[req->extents.count++] = (struct block_extent){ .length = length, .flags = flags };
	return true;
}
