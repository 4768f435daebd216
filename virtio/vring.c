/* virtio/vring.c -- what the layouts have in common: set-up, and a chain from descriptors to iovecs. */
#include "virtio/vring_layout.h"

#include <errno.h>
#include <string.h>

bool vring_size_is_valid(uint64_t features, uint32_t size)
{
	if (size == 0 || size > VRING_SIZE_MAX)
		return false;
	return (features & VIRTIO_F_RING_PACKED) || !(size & (size - 1));
}

int vring_init(struct vring *ring, const struct vring_setup *setup, const struct guest_memory *memory)
{
	memset(ring, 0, sizeof(*ring));
	ring->layout = setup->features & VIRTIO_F_RING_PACKED ? &vring_packed_layout : &vring_split_layout;
	ring->setup = *setup;
	ring->order.kept = setup->features & VIRTIO_F_IN_ORDER;
	if (!vring_size_is_valid(setup->features, setup->size)) {
		ring->broken = "its size is more than 1024, or no power of two";
		return -EINVAL;
	}
	if (!ring->layout->map(ring, memory)) {
		ring->broken = "a part of it is out of the guest's memory, or not aligned";
		return -EINVAL;
	}
	return ring->layout->begin(ring) ? 0 : -EINVAL;
}

int vring_remap(struct vring *ring, const struct guest_memory *memory)
{
	return ring->layout->map(ring, memory) ? 0 : -EFAULT;
}

void vring_log(struct vring *ring, struct dirty_log *log, uint64_t used)
{
	ring->log = log;
	ring->log_used = used;
	if (log)
		ring->layout->log_all(ring);
}

void vring_chain_begin(struct vring_chain *chain, uint16_t id)
{
	chain->id = id;
	chain->fault = VRING_CHAIN_SOUND;
	chain->readable = chain->writable = 0;
	chain->readable_bytes = chain->writable_bytes = 0;
	chain->last_writable = NULL;
}

/* The status of a faulty chain can be told where its last writable byte is in memory. */
static void remember_last(struct vring_chain *chain, const struct guest_memory *memory, uint64_t last)
{
	uint64_t one = 1;

	chain->last_writable = guest_memory_at(memory, last, &one);
}

static void chain_add_piece(struct vring_chain *chain, void *base, uint64_t length, bool writable)
{
	unsigned used = chain->readable + chain->writable;

	if (used == chain->iov_max) {
		chain->fault = VRING_CHAIN_TOO_LONG;
		return;
	}
	chain->iov[used] = (struct iovec){ .iov_base = base, .iov_len = length };
	if (writable) {
		chain->writable++;
		chain->writable_bytes += length;
		chain->last_writable = (uint8_t *)base + length - 1;
	} else {
		chain->readable++;
		chain->readable_bytes += length;
	}
}

bool vring_chain_add(struct vring_chain *chain, const struct guest_memory *memory, uint64_t guest_address,
	uint64_t length, bool writable)
{
	uint64_t last = guest_address + length - 1;

	if (!writable && (chain->writable || chain->last_writable))
		return false;
	if (length == 0)
		return true;
	while (length > 0 && chain->fault == VRING_CHAIN_SOUND) {
		uint64_t piece = length;
		void *base = guest_memory_at(memory, guest_address, &piece);

		if (!base) {
			chain->fault = VRING_CHAIN_UNMAPPED;
			break;
		}
		chain_add_piece(chain, base, piece, writable);
		guest_address += piece;
		length -= piece;
	}
	if (chain->fault != VRING_CHAIN_SOUND && writable)
		remember_last(chain, memory, last);
	return true;
}

void *vring_part(
	const struct guest_memory *memory, uint64_t user_address, uint64_t length, uintptr_t alignment)
{
	void *part = guest_memory_at_user(memory, user_address, length);

	return (uintptr_t)part & (alignment - 1) ? NULL : part;
}

/* Spec: "Indirect Descriptors". */
const char *vring_table_enter(
	const struct vring *ring, uint64_t guest_address, uint32_t length, struct vring_table *table)
{
	uint64_t together = length;

	if (!(ring->setup.features & VIRTIO_F_RING_INDIRECT_DESC))
		return "it has an indirect descriptor, which was not negotiated";
	if (table->indirect)
		return "an indirect table has an indirect descriptor";
	if (length == 0 || length % DESC_SIZE)
		return "an indirect table's length is no multiple of 16";
	table->indirect = true;
	table->guest_address = guest_address;
	table->count = length / DESC_SIZE;
	table->desc = guest_memory_at(ring->memory, guest_address, &together);
	if (!table->desc)
		return "an indirect table is not in the guest's memory";
	if (together < length)
		table->desc = NULL;
	return NULL;
}
