/* server/fault_old.c -- a hash table of blocks, twice as large as it may become full. */
#include "server/fault_old.h"

#include <stdlib.h>
#include <string.h>

#include "server/limits.h"

#define BLOCKS (FAULT_OLD_BYTES_MAX / FAULT_OLD_BLOCK)
#define SLOTS  (2 * BLOCKS)

struct block {
	uint64_t offset, length;
	uint8_t *bytes; /* owned; NULL: free */
};

struct fault_old {
	uint64_t count;
	struct block slots[SLOTS];
};

struct fault_old *fault_old_new(void)
{
	return calloc(1, sizeof(struct fault_old));
}

void fault_old_free(struct fault_old *old)
{
	if (!old)
		return;
	for (unsigned i = 0; i < SLOTS; i++)
		free(old->slots[i].bytes);
	free(old);
}

uint64_t fault_old_room(const struct fault_old *old)
{
	return BLOCKS - old->count;
}

/* Where the block at @offset is, or would be. */
static unsigned slot_of(const struct fault_old *old, uint64_t offset)
{
	unsigned slot = (unsigned)((offset / FAULT_OLD_BLOCK * 0x9e3779b97f4a7c15u) >> 32) % SLOTS;

	while (old->slots[slot].bytes && old->slots[slot].offset != offset)
		slot = (slot + 1) % SLOTS;
	return slot;
}

bool fault_old_has(const struct fault_old *old, uint64_t offset)
{
	return old->slots[slot_of(old, offset)].bytes;
}

void fault_old_keep(struct fault_old *old, uint64_t offset, const uint8_t *bytes, uint64_t length)
{
	struct block *block = &old->slots[slot_of(old, offset)];

	if (block->bytes || old->count == BLOCKS)
		return;
	block->bytes = malloc(length);
	if (!block->bytes)
		return;
	memcpy(block->bytes, bytes, length);
	block->offset = offset;
	block->length = length;
	old->count++;
}

static void recall_block(const struct block *block, uint64_t offset, uint64_t length, uint8_t *data)
{
	uint64_t from = block->offset > offset ? block->offset : offset, to = block->offset + block->length;

	if (to > offset + length)
		to = offset + length;
	if (from < to)
		memcpy(data + (from - offset), block->bytes + (from - block->offset), to - from);
}

void fault_old_recall(const struct fault_old *old, uint64_t offset, uint64_t length, uint8_t *data)
{
	uint64_t at = offset - offset % FAULT_OLD_BLOCK;

	for (; at < offset + length; at += FAULT_OLD_BLOCK) {
		const struct block *block = &old->slots[slot_of(old, at)];

		if (block->bytes)
			recall_block(block, offset, length, data);
	}
}
