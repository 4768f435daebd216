/* virtio/vring_record.c -- the record's beginning, and the order in which a successor takes chains again. */
#include "virtio/vring_record.h"

#include <stdlib.h>
#include <string.h>

#include "virtio/vring_layout.h"

size_t vring_record_size(uint64_t features, uint32_t size)
{
	size_t bytes = features & VIRTIO_F_RING_PACKED
			       ? sizeof(struct inflight_packed) + size * sizeof(struct inflight_packed_desc)
			       : sizeof(struct inflight_split) + size * sizeof(struct inflight_split_desc);

	return (bytes + INFLIGHT_ALIGNMENT - 1) & ~(size_t)(INFLIGHT_ALIGNMENT - 1);
}

bool vring_record_is_known(const void *region)
{
	const struct inflight_split *header = region;

	return RECORD_GET(header->version) != 0;
}

/* Both layouts have these in the same place. */
static_assert(offsetof(struct inflight_split, version) == offsetof(struct inflight_packed, version) &&
		      offsetof(struct inflight_split, desc_num) == offsetof(struct inflight_packed, desc_num),
	"a region's beginning");

const char *record_open(struct vring *ring, bool *known)
{
	const struct vring_setup *setup = &ring->setup;
	const struct inflight_split *header = setup->record;
	uint16_t version;

	if (setup->record_bytes < vring_record_size(setup->features, setup->size))
		return "its in-flight record is too short";
	version = RECORD_GET(header->version);
	*known = version != 0;
	if (!*known)
		memset(setup->record, 0, vring_record_size(setup->features, setup->size));
	else if (version != INFLIGHT_VERSION)
		return "its in-flight record is of an unknown version";
	else if (RECORD_GET(header->desc_num) != setup->size)
		return "its in-flight record is of a ring of another size";
	return NULL;
}

static int compare_counters(const void *a, const void *b)
{
	const struct record_found *first = a, *second = b;

	return (first->counter > second->counter) - (first->counter < second->counter);
}

void record_found(struct vring *ring, struct record_found *found, unsigned count)
{
	struct vring_record *record = &ring->record;

	qsort(found, count, sizeof(*found), compare_counters);
	for (unsigned i = 0; i < count; i++)
		record->again[i] = found[i].what;
	record->again_count = count;
	record->again_next = 0;
	record->counter = count ? found[count - 1].counter + 1 : 0;
}
