/* virtio/vring_record_split.c -- the record of a split ring: a flag for each head, and the list of the last batch.
 * Spec: QEMU, docs/interop/vhost-user.rst, "Inflight I/O tracking". */
#include "virtio/vring_record.h"

static struct inflight_split *region_of(const struct vring *ring)
{
	return ring->setup.record;
}

static void find_in_flight(struct vring *ring)
{
	struct record_found found[VRING_SIZE_MAX];
	struct inflight_split *region = region_of(ring);
	unsigned count = 0;

	for (unsigned i = 0; i < ring->setup.size; i++) {
		if (!RECORD_GET(region->desc[i].inflight))
			continue;
		found[count++] = (struct record_found){ .counter = RECORD_GET(region->desc[i].counter),
			.what = (uint16_t)i };
	}
	record_found(ring, found, count);
}

/* The driver has seen a batch that was not struck off any more. */
static const char *finish_batch(struct vring *ring, uint16_t used_idx)
{
	struct inflight_split *region = region_of(ring);
	uint16_t left = (uint16_t)(used_idx - RECORD_GET(region->used_idx));
	uint16_t at = RECORD_GET(region->last_batch_head);

	if (left > ring->setup.size)
		return "its in-flight record is of another used ring";
	for (; left > 0; left--) {
		if (at >= ring->setup.size)
			return "its in-flight record names a descriptor that is not there";
		RECORD_PUT(region->desc[at].inflight, 0);
		at = RECORD_GET(region->desc[at].next);
	}
	RECORD_PUT(region->used_idx, used_idx);
	return NULL;
}

const char *record_split_recover(struct vring *ring, uint16_t used_idx)
{
	const char *wrong = finish_batch(ring, used_idx);

	if (!wrong)
		find_in_flight(ring);
	return wrong;
}

void record_split_init(struct vring *ring, uint16_t used_idx)
{
	struct inflight_split *region = region_of(ring);

	RECORD_PUT(region->desc_num, (uint16_t)ring->setup.size);
	RECORD_PUT(region->used_idx, used_idx);
	RECORD_PUT(region->version, INFLIGHT_VERSION);
}

void record_split_take(struct vring *ring, uint16_t head)
{
	struct inflight_split_desc *desc = &region_of(ring)->desc[head];

	RECORD_PUT(desc->counter, ring->record.counter++);
	RECORD_PUT(desc->inflight, 1);
}

void record_split_give(struct vring *ring, uint16_t head)
{
	struct vring_record *record = &ring->record;

	RECORD_PUT(region_of(ring)->desc[head].next, record->head);
	record->next[head] = record->head;
	record->head = head;
	record->batch++;
	RECORD_PUT(region_of(ring)->last_batch_head, head);
}

void record_split_publish(struct vring *ring, uint16_t used_idx)
{
	struct vring_record *record = &ring->record;
	uint16_t at = record->head;

	for (; record->batch > 0; record->batch--) {
		RECORD_PUT(region_of(ring)->desc[at].inflight, 0);
		at = record->next[at];
	}
	RECORD_PUT(region_of(ring)->used_idx, used_idx);
}
