/* server/extents.c -- from what a disk says to what base:allocation says. */
#include "server/extents.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#include "server/nbd_wire.h"

static_assert((int)BLOCK_EXTENT_HOLE == NBD_STATE_HOLE && (int)BLOCK_EXTENT_ZERO == NBD_STATE_ZERO, "");
static_assert(sizeof(struct block_extent) == sizeof(struct nbd_extended_extent), "encoded in place");

/* The longest in 32 bits that is on the grid of every disk. */
#define LENGTH_32_MAX 0xffff0000u

size_t extents_encoded_size(enum headers headers)
{
	return headers == HEADERS_EXTENDED ? sizeof(struct nbd_extended_extent) : sizeof(struct nbd_extent);
}

static void encode_64(struct block_req *block)
{
	for (unsigned i = 0; i < block->extents.count; i++) {
		struct block_extent *extent = &block->extents.list[i];

		extent->length = htobe64(extent->length);
		extent->flags = htobe64(extent->flags);
	}
}

static void encode_32(struct block_req *block)
{
	uint8_t *out = (uint8_t *)block->extents.list;

	for (unsigned i = 0; i < block->extents.count; i++) {
		struct block_extent extent = block->extents.list[i];
		struct nbd_extent encoded = { .status = htobe32((uint32_t)extent.flags) };

		if (extent.length > LENGTH_32_MAX) {
			extent.length = LENGTH_32_MAX;
			block->extents.count = i + 1;
		}
		encoded.length = htobe32((uint32_t)extent.length);
		memcpy(out + i * sizeof(encoded), &encoded, sizeof(encoded));
	}
}

void extents_encode(struct block_req *block, enum headers headers)
{
	if (headers == HEADERS_EXTENDED)
		encode_64(block);
	else
		encode_32(block);
}
