/* virtio/vring_record_packed.c -- the record of a packed ring: a copy of every descriptor taken, since used ones are
 * written over them; entries that are free make a list.
 * Spec: QEMU, docs/interop/vhost-user.rst, "Inflight I/O tracking".
 *
 * C1  An entry belongs to one chain that is taken or to the free list, so size - taken entries are free (P1).
 * C2  What has begun but not ended is in the record's fields but not in its old_ ones: old_free_head ends a take;
 *     the old used index ends a give, which counts from the moment its descriptor is visible.
 */
#include "virtio/vring_record.h"

#include <assert.h>

static struct inflight_packed *region_of(const struct vring *ring)
{
	return ring->setup.record;
}

/* The used index with its wrap counter is one thing: killed between the two, we would leave a place whose descriptor is
 * of another lap, if it was ever written. So all four fields change at once. */
static void put_used(struct vring *ring, union inflight_packed_used used)
{
	ring->record.used = used.together;
	RECORD_PUT(region_of(ring)->used.together, used.together);
}

static void settle(struct vring *ring, uint16_t free_head)
{
	const struct vring_packed *packed = &ring->packed;

	RECORD_PUT(region_of(ring)->old_free_head, free_head);
	put_used(ring, (union inflight_packed_used){ .idx = packed->next_used,
			       .old_idx = packed->next_used,
			       .wrap_counter = packed->used_wrap,
			       .old_wrap_counter = packed->used_wrap });
}

static const char *no_place = "its in-flight record names a place that is not in it";

/* The used index to go on from: where a give had begun, whether the driver could see its end. */
static const char *find_used(struct vring *ring)
{
	struct inflight_packed *region = region_of(ring);
	const union inflight_packed_used used = { .together = RECORD_GET(region->used.together) };
	bool has_begun = used.idx != used.old_idx || used.wrap_counter != used.old_wrap_counter;

	if (used.idx >= ring->setup.size || used.old_idx >= ring->setup.size)
		return no_place;
	if (has_begun && !vring_packed_is_available(ring, used.old_idx, used.old_wrap_counter)) {
		ring->packed.next_used = used.idx;
		ring->packed.used_wrap = used.wrap_counter;
		settle(ring, RECORD_GET(region->free_head));
	} else {
		ring->packed.next_used = used.old_idx;
		ring->packed.used_wrap = used.old_wrap_counter;
		settle(ring, RECORD_GET(region->old_free_head));
	}
	return NULL;
}

/* C2: what is in the free list was not taken to the end, or was seen as used by the driver. */
static void clear_free(struct vring *ring)
{
	struct inflight_packed *region = region_of(ring);
	uint16_t at = RECORD_GET(region->old_free_head);

	for (unsigned i = 0; i < ring->setup.size && at < ring->setup.size; i++) {
		RECORD_PUT(region->desc[at].inflight, 0);
		at = RECORD_GET(region->desc[at].next);
	}
}

/* Checks the chain whose first entry is @head, and makes its id known. Returns what is wrong, or NULL. */
static const char *find_chain(struct vring *ring, uint16_t head, bool *is_taken, uint16_t *id)
{
	const struct inflight_packed *region = region_of(ring);
	uint16_t count = RECORD_GET(region->desc[head].num), at = head, last = head;

	if (count == 0 || count > ring->setup.size - ring->packed.taken)
		return "its in-flight record has more descriptors than it";
	for (uint16_t i = 0; i < count; i++) {
		if (at >= ring->setup.size || is_taken[at])
			return "its in-flight record has a chain that is none"; /* C1 */
		is_taken[at] = true;
		last = at;
		at = ring->record.next[at] = RECORD_GET(region->desc[at].next);
	}
	*id = RECORD_GET(region->desc[last].id);
	if (*id >= ring->setup.size || ring->packed.chain[*id].count)
		return "its in-flight record has an id that cannot be";
	ring->packed.chain[*id] = (struct vring_packed_chain){ count, head, last };
	ring->packed.taken = (uint16_t)(ring->packed.taken + count);
	return NULL;
}

static const char *find_in_flight(struct vring *ring, bool *is_taken)
{
	const struct inflight_packed *region = region_of(ring);
	struct record_found found[VRING_SIZE_MAX];
	unsigned count = 0;

	for (unsigned i = 0; i < ring->setup.size; i++) {
		const char *wrong;

		if (!RECORD_GET(region->desc[i].inflight))
			continue;
		wrong = find_chain(ring, (uint16_t)i, is_taken, &found[count].what);
		if (wrong)
			return wrong;
		found[count++].counter = RECORD_GET(region->desc[i].counter);
	}
	record_found(ring, found, count);
	return NULL;
}

/* The free list anew, of all entries that no chain has; size ends it. */
static void link_free(struct vring *ring, const bool *is_taken)
{
	struct inflight_packed *region = region_of(ring);
	uint16_t head = (uint16_t)ring->setup.size;

	for (uint16_t i = (uint16_t)ring->setup.size; i-- > 0;) {
		if (is_taken[i])
			continue;
		ring->record.next[i] = head;
		RECORD_PUT(region->desc[i].next, head);
		head = i;
	}
	ring->record.head = head;
	RECORD_PUT(region->free_head, head);
	RECORD_PUT(region->old_free_head, head);
}

const char *record_packed_recover(struct vring *ring)
{
	bool is_taken[VRING_SIZE_MAX] = { false };
	const char *wrong = find_used(ring);

	if (wrong)
		return wrong;
	clear_free(ring);
	ring->packed.taken = 0;
	wrong = find_in_flight(ring, is_taken);
	if (!wrong)
		link_free(ring, is_taken);
	return wrong;
}

void record_packed_init(struct vring *ring)
{
	const bool is_taken[VRING_SIZE_MAX] = { false };

	link_free(ring, is_taken);
	settle(ring, ring->record.head);
	RECORD_PUT(region_of(ring)->desc_num, (uint16_t)ring->setup.size);
	RECORD_PUT(region_of(ring)->version, INFLIGHT_VERSION);
}

void record_packed_note(struct vring *ring, unsigned index, const struct record_desc *desc)
{
	struct vring_record *record = &ring->record;
	uint16_t at = index == 0 ? record->head : record->next[record->noted];
	struct inflight_packed_desc *entry = &region_of(ring)->desc[at];

	assert(at < ring->setup.size); /* C1 */
	RECORD_PUT(entry->addr, desc->addr);
	RECORD_PUT(entry->len, desc->len);
	RECORD_PUT(entry->id, desc->id);
	RECORD_PUT(entry->flags, desc->flags);
	record->noted = at;
}

void record_packed_take(struct vring *ring, uint16_t id)
{
	struct vring_record *record = &ring->record;
	struct vring_packed_chain *chain = &ring->packed.chain[id];
	struct inflight_packed *region = region_of(ring);
	struct inflight_packed_desc *head = &region->desc[record->head];

	chain->first = record->head;
	chain->last = record->noted;
	RECORD_PUT(head->num, chain->count);
	RECORD_PUT(head->last, chain->last);
	RECORD_PUT(head->counter, record->counter++);
	RECORD_PUT(head->inflight, 1);
	record->head = record->next[chain->last];
	RECORD_PUT(region->free_head, record->head);
	RECORD_PUT(region->old_free_head, record->head);
}

void record_packed_give(struct vring *ring, uint16_t id)
{
	const struct vring_packed_chain *chain = &ring->packed.chain[id];
	struct vring_record *record = &ring->record;
	struct inflight_packed *region = region_of(ring);
	union inflight_packed_used used = { .together = record->used };

	RECORD_PUT(region->desc[chain->last].next, record->head);
	record->next[chain->last] = record->head;
	record->head = chain->first;
	RECORD_PUT(region->free_head, record->head);
	used.idx = ring->packed.next_used;
	used.wrap_counter = ring->packed.used_wrap;
	put_used(ring, used);
}

void record_packed_given(struct vring *ring, uint16_t id)
{
	RECORD_PUT(region_of(ring)->desc[ring->packed.chain[id].first].inflight, 0);
	settle(ring, ring->record.head);
}

uint16_t record_packed_read(const struct vring *ring, uint16_t at, struct record_desc *copy)
{
	const struct inflight_packed_desc *entry = &region_of(ring)->desc[at];

	*copy = (struct record_desc){
		.addr = RECORD_GET(entry->addr),
		.len = RECORD_GET(entry->len),
		.id = RECORD_GET(entry->id),
		.flags = RECORD_GET(entry->flags),
	};
	return ring->record.next[at];
}
