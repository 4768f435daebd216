/* virtio/vring.c -- what the layouts have in common: set-up, and a chain from descriptors to iovecs. */
#include "virtio/vring.h"

#include <errno.h>
#include <string.h>

int vring_init(struct vring *ring, const struct vring_setup *setup, const struct guest_memory *memory)
{
	memset(ring, 0, sizeof(*ring));
	ring->layout = &vring_split_layout;
	ring->setup = *setup;
	if (setup->size == 0 || setup->size > VRING_SIZE_MAX || (setup->size & (setup->size - 1))) {
		ring->broken = "its size is no power of two up to 1024";
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
