/* virtio/vring_layout.h -- what layouts of a virtqueue have in common; for them alone.
 *
 * Every field that driver and device share is little-endian and naturally aligned.
 */
#pragma once

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "virtio/virtio_blk_wire.h"
#include "virtio/vring.h"

#define DESC_NEXT     1u
#define DESC_WRITE    2u
#define DESC_INDIRECT 4u

/* Bytes, in either layout; address and length come first in both. */
#define DESC_SIZE 16u

/* The driver's barrier stands between its write and its read; here it is the order of sequentially consistent atomics
 * that keeps our write before our read. */
static inline uint16_t load16(const uint16_t *shared)
{
	return le16toh(__atomic_load_n(shared, __ATOMIC_SEQ_CST));
}

static inline void store16(uint16_t *shared, uint16_t value)
{
	__atomic_store_n(shared, htole16(value), __ATOMIC_SEQ_CST);
}

/* After a write: @length bytes, @from on in the part whose guest address is @part. */
static inline void ring_wrote(const struct vring *ring, uint64_t part, uint64_t from, uint64_t length)
{
	if (__builtin_expect(ring->log != NULL, 0))
		dirty_log_mark(ring->log, part + from, length);
}

static inline bool has_event_idx(const struct vring *ring)
{
	return ring->setup.features & VIRTIO_F_RING_EVENT_IDX;
}

static inline enum vring_taken ring_break(struct vring *ring, const char *why)
{
	ring->broken = why;
	return VRING_BROKEN;
}

/* vring_part() - where a part of a ring is; NULL: not in memory, or off its alignment. */
void *vring_part(
	const struct guest_memory *memory, uint64_t user_address, uint64_t length, uintptr_t alignment);

/* An empty chain of that id; then its buffers in order. vring_chain_add() returns false where the order is against the
 * rules: a readable buffer after a writable one. */
void vring_chain_begin(struct vring_chain *chain, uint16_t id);
bool vring_chain_add(struct vring_chain *chain, const struct guest_memory *memory, uint64_t guest_address,
	uint64_t length, bool writable);

/* A table of descriptors: the ring's own, or an indirect one, which need not be in one piece of our memory. */
struct vring_table {
	const void *desc; /* NULL: in pieces */
	uint32_t count;
	bool indirect;
	uint64_t guest_address; /* of an indirect one */
};

/* vring_table_enter() - make @table the indirect one at an address. Returns what is wrong, or NULL. */
const char *vring_table_enter(
	const struct vring *ring, uint64_t guest_address, uint32_t length, struct vring_table *table);

/* vring_table_read() - copy descriptor @index (DESC_SIZE bytes), which is less than the count; from then on the copy is
 * used, never the driver's memory again. Returns 0 or -EFAULT: it is not in memory. */
static inline int vring_table_read(
	const struct vring *ring, const struct vring_table *table, uint32_t index, void *copy)
{
	int error = 0;

	if (table->desc)
		memcpy(copy, (const char *)table->desc + (size_t)index * DESC_SIZE, DESC_SIZE);
	else
		error = guest_memory_read(
			ring->memory, table->guest_address + (uint64_t)index * DESC_SIZE, copy, DESC_SIZE);
	__asm__ volatile("" : : : "memory");
	return error;
}
