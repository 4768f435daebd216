/* virtio/vring_packed.c -- the packed layout: one ring of descriptors that driver and device write in turn.
 * Spec: virtio, "Packed Virtqueues".
 *
 * P1  taken <= size: what was taken and not yet given back never exceeds the ring; next_used + taken is next_avail. So
 *     every descriptor that we write over has been taken before.
 * P2  An id is taken by one chain at a time, and is less than the size.
 * P3  A chain ends: it has at most as many descriptors as the ring, or one indirect table of VRING_CHAIN_MAX.
 */
#include "virtio/vring_layout.h"
#include "virtio/vring_record.h"

#include <assert.h>
#include <string.h>

#define DESC_AVAIL (1u << 7)
#define DESC_USED  (1u << 15)

#define EVENT_ENABLE  0u
#define EVENT_DISABLE 1u
#define EVENT_DESC    2u
#define EVENT_MASK    3u

/* Of a place in the ring with its wrap counter. */
#define PLACE_MASK 0x7fffu
#define PLACE_WRAP 0x8000u

struct vring_packed_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id;
	uint16_t flags;
};
static_assert(sizeof(struct vring_packed_desc) == DESC_SIZE, "pvirtq_desc");

struct vring_packed_event {
	uint16_t place;
	uint16_t flags;
};
static_assert(sizeof(struct vring_packed_event) == 4, "pvirtq_event_suppress");

static bool packed_map(struct vring *ring, const struct guest_memory *memory)
{
	const struct vring_setup *setup = &ring->setup;
	void *desc = vring_part(memory, setup->desc, (uint64_t)DESC_SIZE * setup->size, 16);
	void *driver = vring_part(memory, setup->avail, sizeof(struct vring_packed_event), 4);
	void *device = vring_part(memory, setup->used, sizeof(struct vring_packed_event), 4);

	if (!desc || !driver || !device || !guest_memory_address_of(memory, desc, &ring->packed.desc_address))
		return false;
	ring->memory = memory;
	ring->packed.desc = desc;
	ring->packed.driver_event = driver;
	ring->packed.device_event = device;
	return true;
}

static void put_event(const struct vring *ring, uint16_t *field, uint16_t value)
{
	store16(field, value);
	ring_wrote(ring, ring->log_used,
		(uint64_t)((const char *)field - (const char *)ring->packed.device_event), sizeof(*field));
}

static void packed_log_all(const struct vring *ring)
{
	if (!ring->packed.desc)
		return;
	ring_wrote(ring, ring->packed.desc_address, 0, (uint64_t)DESC_SIZE * ring->setup.size);
	ring_wrote(ring, ring->log_used, 0, sizeof(struct vring_packed_event));
}

static void place_advance(const struct vring *ring, uint16_t *place, bool *wrap, uint16_t count)
{
	*place = (uint16_t)(*place + count);
	if (*place >= ring->setup.size) {
		*place = (uint16_t)(*place - ring->setup.size);
		*wrap = !*wrap;
	}
}

/* Returns false where no lap of the ring leads from used to avail. */
static bool count_taken(struct vring *ring)
{
	struct vring_packed *packed = &ring->packed;
	uint32_t size = ring->setup.size;
	uint32_t ahead = packed->avail_wrap == packed->used_wrap ? 0 : size;

	if (packed->next_avail >= size || packed->next_used >= size ||
		packed->next_avail + ahead < packed->next_used ||
		packed->next_avail + ahead - packed->next_used > size)
		return false;
	packed->taken = (uint16_t)(packed->next_avail + ahead - packed->next_used);
	return true;
}

static bool nothing_is_used(const struct vring *ring)
{
	for (uint32_t i = 0; i < ring->setup.size; i++) {
		if (load16(&ring->packed.desc[i].flags) & DESC_USED)
			return false;
	}
	return true;
}

/* The base as it was told, or as it was meant: front-ends older than its description in the specification tell no used place
 * (DPDK), or none at all (libblkio's driver) of a ring that is new. A used place of 0 in a lap of the wrap counter 0 is that
 * of the available one anyway: without a record nothing is in flight, or nobody could give it back. */
static uint32_t base_meant(const struct vring *ring)
{
	uint32_t base = ring->setup.base;

	if (base == 0 && nothing_is_used(ring))
		base = VRING_PACKED_START;
	return base >> 16 ? base : base | base << 16;
}

/* Returns what is wrong, or NULL. */
static const char *begin_at_base(struct vring *ring)
{
	struct vring_packed *packed = &ring->packed;
	uint32_t base = base_meant(ring);

	packed->next_avail = base & PLACE_MASK;
	packed->avail_wrap = base & PLACE_WRAP;
	packed->next_used = base >> 16 & PLACE_MASK;
	packed->used_wrap = base >> 16 & PLACE_WRAP;
	return count_taken(ring) ? NULL : "its base is not a place in the ring";
}

static const char *begin_at_record(struct vring *ring)
{
	struct vring_packed *packed = &ring->packed;
	const char *wrong = record_packed_recover(ring);

	if (wrong)
		return wrong;
	packed->next_avail = packed->next_used;
	packed->avail_wrap = packed->used_wrap;
	place_advance(ring, &packed->next_avail, &packed->avail_wrap, packed->taken);
	return NULL;
}

static bool packed_begin(struct vring *ring)
{
	bool known = false;
	const char *wrong = ring->setup.record ? record_open(ring, &known) : NULL;

	if (!wrong)
		wrong = known ? begin_at_record(ring) : begin_at_base(ring);
	if (wrong) {
		ring_break(ring, wrong);
		return false;
	}
	if (ring->setup.record && !known)
		record_packed_init(ring);
	store16(&ring->packed.device_event->flags, EVENT_ENABLE);
	return true;
}

/* The load makes what the driver wrote before visible. */
bool vring_packed_is_available(const struct vring *ring, uint16_t place, bool wrap)
{
	uint16_t flags = load16(&ring->packed.desc[place].flags);

	return !(flags & DESC_AVAIL) == !wrap && !(flags & DESC_USED) == wrap;
}

static bool is_available(const struct vring *ring)
{
	return vring_packed_is_available(ring, ring->packed.next_avail, ring->packed.avail_wrap);
}

static int desc_read(const struct vring *ring, const struct vring_table *table, uint32_t index,
	struct vring_packed_desc *copy)
{
	int error = vring_table_read(ring, table, index, copy);

	copy->addr = le64toh(copy->addr);
	copy->len = le32toh(copy->len);
	copy->id = le16toh(copy->id);
	copy->flags = le16toh(copy->flags);
	return error;
}

/* Returns what is wrong with the ring, or NULL. */
static const char *chain_add(
	const struct vring *ring, struct vring_chain *chain, const struct vring_packed_desc *desc)
{
	if (!vring_chain_add(chain, ring->memory, desc->addr, desc->len, desc->flags & DESC_WRITE))
		return "a chain has a readable buffer after a writable one";
	return NULL;
}

/* Its descriptors follow one another, and of their flags only the writable one means something. */
static const char *chain_add_table(
	const struct vring *ring, struct vring_chain *chain, const struct vring_packed_desc *desc)
{
	struct vring_table table = { .indirect = false };
	const char *wrong = vring_table_enter(ring, desc->addr, desc->len, &table);

	if (!wrong && table.count > VRING_CHAIN_MAX)
		wrong = "an indirect table has more than 1024 descriptors";
	for (uint32_t i = 0; !wrong && i < table.count; i++) {
		struct vring_packed_desc entry;

		if (desc_read(ring, &table, i, &entry))
			wrong = "an indirect table is not in the guest's memory";
		else
			wrong = chain_add(ring, chain, &entry);
	}
	return wrong;
}

static const char *chain_add_only(
	const struct vring *ring, struct vring_chain *chain, const struct vring_packed_desc *desc)
{
	if (desc->flags & DESC_INDIRECT)
		return chain_add_table(ring, chain, desc);
	return chain_add(ring, chain, desc);
}

static void note(struct vring *ring, unsigned index, const struct vring_packed_desc *desc)
{
	const struct record_desc copy = { desc->addr, desc->len, desc->id, desc->flags };

	record_packed_note(ring, index, &copy);
}

/* P3. The chain that starts at next_avail. @count: becomes how many descriptors it has. */
static const char *walk(struct vring *ring, struct vring_chain *chain, uint16_t *count)
{
	const struct vring_table table = { .desc = ring->packed.desc, .count = ring->setup.size };
	uint16_t at = ring->packed.next_avail, visited = 0;
	bool wrap = ring->packed.avail_wrap;
	struct vring_packed_desc desc;

	do {
		const char *wrong;

		if (ring->packed.taken + visited >= ring->setup.size)
			return "more descriptors are available than it has";
		desc_read(ring, &table, at, &desc);
		place_advance(ring, &at, &wrap, 1);
		if ((desc.flags & DESC_INDIRECT) && (visited > 0 || (desc.flags & DESC_NEXT)))
			return "an indirect descriptor is part of a chain";
		wrong = chain_add_only(ring, chain, &desc);
		if (wrong)
			return wrong;
		if (ring->setup.record)
			note(ring, visited, &desc);
		visited++;
	} while (desc.flags & DESC_NEXT);
	chain->id = desc.id;
	*count = visited;
	return NULL;
}

/* A chain that our predecessor took: its descriptors may have been written over, but not what the record has of them. */
static enum vring_taken take_again(struct vring *ring, struct vring_chain *chain)
{
	uint16_t id = ring->record.again[ring->record.again_next++];
	const struct vring_packed_chain *taken = &ring->packed.chain[id];
	uint16_t at = taken->first;

	vring_chain_begin(chain, id);
	for (uint16_t i = 0; i < taken->count; i++) {
		struct record_desc copy;
		struct vring_packed_desc desc;
		const char *wrong;

		at = record_packed_read(ring, at, &copy);
		desc = (struct vring_packed_desc){ copy.addr, copy.len, copy.id, copy.flags };
		wrong = taken->count > 1 ? chain_add(ring, chain, &desc) : chain_add_only(ring, chain, &desc);
		if (wrong)
			return ring_break(ring, wrong);
	}
	return VRING_TAKEN;
}

static enum vring_taken packed_take(struct vring *ring, struct vring_chain *chain)
{
	struct vring_packed *packed = &ring->packed;
	uint16_t count = 0;
	const char *wrong;

	if (vring_has_taken(ring))
		return take_again(ring, chain);
	if (!is_available(ring))
		return VRING_EMPTY;
	vring_chain_begin(chain, 0);
	wrong = walk(ring, chain, &count);
	if (!wrong && chain->id >= ring->setup.size)
		wrong = "a buffer's id is not less than its size";
	if (!wrong && packed->chain[chain->id].count)
		wrong = "a buffer's id is available twice"; /* P2 */
	if (wrong)
		return ring_break(ring, wrong);
	packed->chain[chain->id].count = count;
	if (ring->setup.record)
		record_packed_take(ring, chain->id);
	packed->taken = (uint16_t)(packed->taken + count);
	place_advance(ring, &packed->next_avail, &packed->avail_wrap, count);
	return VRING_TAKEN;
}

/* The driver looks at one descriptor at a time, so the flags make it visible. */
static void packed_give(struct vring *ring, uint16_t id, uint32_t written)
{
	struct vring_packed *packed = &ring->packed;
	struct vring_packed_desc *desc = &packed->desc[packed->next_used];
	uint16_t flags = (packed->used_wrap ? DESC_AVAIL | DESC_USED : 0) | (written ? DESC_WRITE : 0);
	uint16_t count = packed->chain[id].count;

	place_advance(ring, &packed->next_used, &packed->used_wrap, count);
	if (ring->setup.record)
		record_packed_give(ring, id);
	desc->id = htole16(id);
	desc->len = htole32(written);
	store16(&desc->flags, flags);
	ring_wrote(ring, packed->desc_address, (uint64_t)((const char *)desc - (const char *)packed->desc),
		DESC_SIZE);
	if (ring->setup.record)
		record_packed_given(ring, id);
	packed->chain[id].count = 0;
	packed->taken = (uint16_t)(packed->taken - count);
	packed->given += count;
}

/* Whether the place that the driver named is among the last @given ones. */
static bool passed(const struct vring *ring, uint16_t place, uint32_t given)
{
	const struct vring_packed *packed = &ring->packed;
	uint32_t size = ring->setup.size, at = place & PLACE_MASK;
	/* Laps are counted from that of next_used. */
	uint32_t end = packed->next_used + size;

	/* More than a lap: the driver is at work on them already, and every place was passed. */
	if (given > size)
		return true;
	if (at >= size)
		return false;
	if (!(place & PLACE_WRAP) == !packed->used_wrap)
		at += size;
	return at < end && end - at <= given;
}

/* Spec: "Driver and Device Event Suppression". */
static bool packed_publish(struct vring *ring)
{
	const struct vring_packed_event *event = ring->packed.driver_event;
	uint32_t given = ring->packed.given;
	uint16_t flags;

	if (!given)
		return false;
	ring->packed.given = 0;
	flags = load16(&event->flags) & EVENT_MASK;
	if (flags == EVENT_DESC && has_event_idx(ring))
		return passed(ring, load16(&event->place), given);
	return flags != EVENT_DISABLE;
}

/* With the event index, the driver kicks only when it passes the place named, which stays behind while we are busy. */
static void packed_quiet(struct vring *ring)
{
	if (!has_event_idx(ring))
		put_event(ring, &ring->packed.device_event->flags, EVENT_DISABLE);
}

static bool packed_listen(struct vring *ring)
{
	struct vring_packed *packed = &ring->packed;

	if (has_event_idx(ring)) {
		put_event(ring, &packed->device_event->place,
			packed->next_avail | (packed->avail_wrap ? PLACE_WRAP : 0));
		put_event(ring, &packed->device_event->flags, EVENT_DESC);
	} else {
		put_event(ring, &packed->device_event->flags, EVENT_ENABLE);
	}
	return is_available(ring);
}

static uint32_t packed_base(const struct vring *ring)
{
	const struct vring_packed *packed = &ring->packed;
	uint32_t avail = packed->next_avail | (packed->avail_wrap ? PLACE_WRAP : 0);
	uint32_t used = packed->next_used | (packed->used_wrap ? PLACE_WRAP : 0);

	return packed->desc ? avail | used << 16 : ring->setup.base;
}

const struct vring_layout vring_packed_layout = {
	.map = packed_map,
	.begin = packed_begin,
	.log_all = packed_log_all,
	.take = packed_take,
	.give = packed_give,
	.publish = packed_publish,
	.quiet = packed_quiet,
	.listen = packed_listen,
	.base = packed_base,
};
