/* virtio/vring_split.c -- the split layout: descriptor table, available ring, used ring.
 * Spec: virtio, "Split Virtqueues".
 *
 * S1  used_given - used_published <= next_avail - used_published <= size: what was taken and not yet published never
 *     exceeds the ring, so as many requests as the ring has entries are always enough.
 * S2  A chain's walk ends: it visits at most VRING_CHAIN_MAX descriptors, and one indirect table.
 */
#include "virtio/vring_layout.h"
#include "virtio/vring_record.h"

#include <assert.h>
#include <string.h>

#define AVAIL_NO_INTERRUPT 1u
#define USED_NO_NOTIFY	   1u

struct vring_split_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};
static_assert(sizeof(struct vring_split_desc) == DESC_SIZE, "virtq_desc");

struct vring_split_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[]; /* then used_event */
};

struct vring_split_used {
	uint16_t flags;
	uint16_t idx;
	struct {
		uint32_t id;
		uint32_t len;
	} ring[]; /* then avail_event */
};

static uint16_t slot_of(const struct vring *ring, uint16_t index)
{
	return index & (uint16_t)(ring->setup.size - 1);
}

static uint16_t *used_event(const struct vring *ring)
{
	return &ring->split.avail->ring[ring->setup.size];
}

static uint16_t *avail_event(const struct vring *ring)
{
	return (uint16_t *)&ring->split.used->ring[ring->setup.size];
}

static uint64_t used_bytes(const struct vring *ring)
{
	return 6 + 8ull * ring->setup.size;
}

static bool split_map(struct vring *ring, const struct guest_memory *memory)
{
	const struct vring_setup *setup = &ring->setup;
	uint64_t size = setup->size;
	void *desc = vring_part(memory, setup->desc, 16 * size, 16);
	void *avail = vring_part(memory, setup->avail, 6 + 2 * size, 2);
	void *used = vring_part(memory, setup->used, used_bytes(ring), 4);

	if (!desc || !avail || !used)
		return false;
	ring->memory = memory;
	ring->split.desc = desc;
	ring->split.avail = avail;
	ring->split.used = used;
	return true;
}

/* @at: in the used ring. */
static void used_wrote(const struct vring *ring, const void *at, uint64_t length)
{
	ring_wrote(
		ring, ring->log_used, (uint64_t)((const char *)at - (const char *)ring->split.used), length);
}

static void put_used16(const struct vring *ring, uint16_t *field, uint16_t value)
{
	store16(field, value);
	used_wrote(ring, field, sizeof(*field));
}

static void split_log_all(const struct vring *ring)
{
	if (ring->split.used)
		ring_wrote(ring, ring->log_used, 0, used_bytes(ring));
}

static bool begin_record(struct vring *ring)
{
	struct vring_split *split = &ring->split;
	bool known;
	const char *wrong = record_open(ring, &known);

	if (!wrong && known)
		wrong = record_split_recover(ring, split->used_given);
	if (wrong) {
		ring_break(ring, wrong);
		return false;
	}
	if (known)
		split->next_avail = (uint16_t)(split->used_given + ring->record.again_count);
	else
		record_split_init(ring, split->used_given);
	return true;
}

static bool split_begin(struct vring *ring)
{
	struct vring_split *split = &ring->split;

	split->next_avail = (uint16_t)ring->setup.base;
	split->used_given = split->used_published = load16(&split->used->idx);
	if (ring->setup.record && !begin_record(ring))
		return false;
	split->avail_seen = split->next_avail;
	if ((uint16_t)(split->next_avail - split->used_given) > ring->setup.size) {
		ring_break(ring, "its base is not within one size of its used index");
		return false;
	}
	store16(&split->used->flags, 0);
	return true;
}

/* S1: how far the driver has got; the acquire makes what it wrote before visible. */
static bool see_avail(struct vring *ring)
{
	struct vring_split *split = &ring->split;
	uint16_t idx = load16(&split->avail->idx);

	if ((uint16_t)(idx - split->next_avail) > ring->setup.size ||
		(uint16_t)(idx - split->used_given) > ring->setup.size) {
		ring_break(ring, "its available index jumps by more than its size");
		return false;
	}
	split->avail_seen = idx;
	return true;
}

static int desc_read(const struct vring *ring, const struct vring_table *table, uint32_t index,
	struct vring_split_desc *copy)
{
	int error = vring_table_read(ring, table, index, copy);

	copy->addr = le64toh(copy->addr);
	copy->len = le32toh(copy->len);
	copy->flags = le16toh(copy->flags);
	copy->next = le16toh(copy->next);
	return error;
}

static const char *table_enter(
	const struct vring *ring, const struct vring_split_desc *desc, struct vring_table *table)
{
	if (!table->indirect && (desc->flags & DESC_NEXT))
		return "an indirect descriptor has a next one";
	return vring_table_enter(ring, desc->addr, desc->len, table);
}

/* S2. Returns what is wrong with the ring, or NULL. */
static const char *walk(struct vring *ring, struct vring_chain *chain, uint32_t head)
{
	struct vring_table table = { .desc = ring->split.desc, .count = ring->setup.size };
	struct vring_split_desc desc;
	uint32_t index = head;

	for (unsigned visited = 0; visited < VRING_CHAIN_MAX; visited++) {
		if (index >= table.count)
			return "a descriptor's index is out of its table";
		if (desc_read(ring, &table, index, &desc))
			return "an indirect table is not in the guest's memory";
		if (desc.flags & DESC_INDIRECT) {
			const char *wrong = table_enter(ring, &desc, &table);

			if (wrong)
				return wrong;
			index = 0;
			continue;
		}
		if (!vring_chain_add(chain, ring->memory, desc.addr, desc.len, desc.flags & DESC_WRITE))
			return "a chain has a readable buffer after a writable one";
		if (!(desc.flags & DESC_NEXT))
			return NULL;
		index = desc.next;
	}
	return "a chain of descriptors is a loop";
}

static enum vring_taken take_head(struct vring *ring, struct vring_chain *chain, uint16_t head)
{
	const char *wrong;

	vring_chain_begin(chain, head);
	wrong = walk(ring, chain, head);
	return wrong ? ring_break(ring, wrong) : VRING_TAKEN;
}

static enum vring_taken split_take(struct vring *ring, struct vring_chain *chain)
{
	struct vring_split *split = &ring->split;
	uint16_t head;

	if (vring_has_taken(ring))
		return take_head(ring, chain, ring->record.again[ring->record.again_next++]);
	if (split->next_avail == split->avail_seen) {
		if (!see_avail(ring))
			return VRING_BROKEN;
		if (split->next_avail == split->avail_seen)
			return VRING_EMPTY;
	}
	head = le16toh(
		__atomic_load_n(&split->avail->ring[slot_of(ring, split->next_avail)], __ATOMIC_RELAXED));
	if (take_head(ring, chain, head) == VRING_BROKEN)
		return VRING_BROKEN;
	if (ring->setup.record)
		record_split_take(ring, head);
	split->next_avail++;
	return VRING_TAKEN;
}

static void split_give(struct vring *ring, uint16_t id, uint32_t written)
{
	struct vring_split *split = &ring->split;
	uint16_t slot = slot_of(ring, split->used_given++);

	split->used->ring[slot].id = htole32(id);
	split->used->ring[slot].len = htole32(written);
	used_wrote(ring, &split->used->ring[slot], sizeof(split->used->ring[slot]));
	if (ring->setup.record)
		record_split_give(ring, id);
}

/* Spec: "Used Buffer Notification Suppression". */
static bool wants_call(const struct vring *ring, uint16_t before, uint16_t now)
{
	if (!has_event_idx(ring))
		return !(load16(&ring->split.avail->flags) & AVAIL_NO_INTERRUPT);
	/* Whether used_event is among the entries before .. now - 1. */
	return (uint16_t)(now - load16(used_event(ring)) - 1) < (uint16_t)(now - before);
}

static bool split_publish(struct vring *ring)
{
	struct vring_split *split = &ring->split;
	uint16_t before = split->used_published;

	if (split->used_given == before)
		return false;
	put_used16(ring, &split->used->idx, split->used_given);
	if (ring->setup.record)
		record_split_publish(ring, split->used_given);
	split->used_published = split->used_given;
	return wants_call(ring, before, split->used_given);
}

/* With the event index, the driver kicks only when it passes avail_event, which stays behind while we are busy. */
static void split_quiet(struct vring *ring)
{
	if (!has_event_idx(ring))
		put_used16(ring, &ring->split.used->flags, USED_NO_NOTIFY);
}

static bool split_listen(struct vring *ring)
{
	struct vring_split *split = &ring->split;

	if (has_event_idx(ring))
		put_used16(ring, avail_event(ring), split->next_avail);
	else
		put_used16(ring, &split->used->flags, 0);
	return load16(&split->avail->idx) != split->next_avail;
}

static uint32_t split_base(const struct vring *ring)
{
	return ring->split.used ? ring->split.next_avail : ring->setup.base;
}

const struct vring_layout vring_split_layout = {
	.map = split_map,
	.begin = split_begin,
	.log_all = split_log_all,
	.take = split_take,
	.give = split_give,
	.publish = split_publish,
	.quiet = split_quiet,
	.listen = split_listen,
	.base = split_base,
};
