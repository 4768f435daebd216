/* A read of any bytes at any offset, answered in chunks: put together again they are the bytes, in as many messages as it
 * takes; and the extents of a block status keep what 32 bits can tell. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/extents.h"
#include "server/nbd_wire.h"
#include "server/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* The input's bytes make grains: each byte one, which is all that byte. */
static void fill(uint8_t *out, size_t length, const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < length; i++)
		out[i] = data[i / (REPLY_HOLE_GRAIN / 2) % size];
}

static void take_piece(const struct request *request, enum headers headers, uint64_t from, uint8_t *out,
	struct reply_piece *piece)
{
	uint8_t *head = malloc(REPLY_HEAD_MAX);
	size_t header = headers == HEADERS_EXTENDED ? sizeof(struct nbd_extended_chunk_header)
						    : sizeof(struct nbd_chunk_header);

	reply_next(request, headers, from, head, piece);
	require(piece->head <= REPLY_HEAD_MAX && piece->end > from && piece->end <= request->command.length);
	require(nbd_get64(head + header) == request->command.offset + from);
	require(nbd_get16(head + 4) == piece->last);
	if (nbd_get16(head + 6) == NBD_REPLY_TYPE_OFFSET_DATA) {
		require(piece->length == piece->end - from);
		memcpy(out + from, piece->data, piece->length);
	} else {
		require(piece->length == 0 && nbd_get32(head + header + 8) == piece->end - from);
		memset(out + from, 0, piece->end - from);
	}
	free(head);
}

static void read_back(const uint8_t *data, size_t size, enum headers headers, uint64_t offset, size_t length)
{
	struct request request = { .magic = REQUEST_MAGIC,
		.command = { .offset = offset, .length = length } };
	struct reply_piece piece = { 0 };
	struct buffer_pool pool;
	uint8_t *out = malloc(length);

	buffer_pool_init(&pool, 0);
	request.buffer = buffer_get(&pool, length);
	fill(buffer_data(request.buffer), length, data, size);
	memset(out, 0xee, length);
	do
		take_piece(&request, headers, piece.end, out, &piece);
	while (!piece.last);
	require(piece.end == length && memcmp(out, buffer_data(request.buffer), length) == 0);
	buffer_put(&pool, request.buffer);
	free(out);
}

static void encode(const uint8_t *data, size_t size)
{
	unsigned count = (unsigned)(size / sizeof(struct block_extent));
	struct block_extent *extents = malloc(size);
	struct block_req block = { .extents = { .list = extents, .max = count, .count = count } };

	memcpy(extents, data, size);
	extents_encode(&block, HEADERS_STRUCTURED);
	require(block.extents.count <= count && (count == 0 || block.extents.count > 0));
	for (unsigned i = 0; i < block.extents.count; i++) {
		const uint8_t *encoded = (uint8_t *)extents + i * sizeof(struct nbd_extent);
		struct block_extent was;

		memcpy(&was, data + i * sizeof(was), sizeof(was));
		require(nbd_get32(encoded + 4) == (uint32_t)was.flags);
		require(nbd_get32(encoded) == was.length || i == block.extents.count - 1);
		require(nbd_get32(encoded) <= was.length);
	}
	free(extents);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t offset;
	uint32_t length;

	if (size < 16)
		return 0;
	memcpy(&offset, data, sizeof(offset));
	memcpy(&length, data + 8, sizeof(length));
	read_back(data + 13, size - 13, data[12] & 1 ? HEADERS_EXTENDED : HEADERS_STRUCTURED,
		offset & INT64_MAX, 1 + length % (256 << 10));
	encode(data + 13, size - 13);
	return 0;
}
