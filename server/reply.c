/* server/reply.c -- heads, and where a read is cut into data and holes. */
#include "server/reply.h"

#include <endian.h>
#include <string.h>

#include "server/extents.h"
#include "server/nbd_wire.h"

static bool is_read(const struct request *request)
{
	return request->command.type == NBD_CMD_READ && request->status == 0;
}

/* One whose client wants to be told nothing has no contexts. */
static bool is_status(const struct request *request)
{
	return request->command.type == NBD_CMD_BLOCK_STATUS && request->status == 0 && request->contexts;
}

static bool tells(const struct request *request, enum meta_context context)
{
	return request->contexts & META_BIT(context);
}

bool reply_has_data(const struct request *request)
{
	return is_read(request) || (is_status(request) && tells(request, META_ALLOCATION));
}

/* A head being written. */
struct head {
	uint8_t *start, *at;
};

static void put(struct head *head, const void *bytes, size_t length)
{
	memcpy(head->at, bytes, length);
	head->at += length;
}

static void put16(struct head *head, uint16_t number)
{
	number = htobe16(number);
	put(head, &number, sizeof(number));
}

static void put32(struct head *head, uint32_t number)
{
	number = htobe32(number);
	put(head, &number, sizeof(number));
}

static void put64(struct head *head, uint64_t number)
{
	number = htobe64(number);
	put(head, &number, sizeof(number));
}

static void put_simple(struct head *head, const struct request *request)
{
	struct nbd_simple_reply reply = {
		.magic = htobe32(NBD_SIMPLE_REPLY_MAGIC),
		.error = htobe32(nbd_error_of(request->status)),
		.cookie = htobe64(request->command.cookie),
	};

	put(head, &reply, sizeof(reply));
}

/* A chunk whose payload has @length bytes, in the head and behind it. */
static void put_chunk(struct head *head, const struct request *request, enum headers headers,
	enum nbd_reply_type type, bool last, size_t length)
{
	uint16_t flags = htobe16(last ? NBD_REPLY_FLAG_DONE : 0);

	if (headers == HEADERS_EXTENDED) {
		struct nbd_extended_chunk_header header = {
			.magic = htobe32(NBD_EXTENDED_REPLY_MAGIC),
			.flags = flags,
			.type = htobe16((uint16_t)type),
			.cookie = htobe64(request->command.cookie),
			.offset = htobe64(request->command.offset),
			.length = htobe64(length),
		};

		put(head, &header, sizeof(header));
	} else {
		struct nbd_chunk_header header = {
			.magic = htobe32(NBD_STRUCTURED_REPLY_MAGIC),
			.flags = flags,
			.type = htobe16((uint16_t)type),
			.cookie = htobe64(request->command.cookie),
			.length = htobe32((uint32_t)length),
		};

		put(head, &header, sizeof(header));
	}
}

/* Enough for every constant and for strerror(3). */
#define ERROR_WORDS_MAX \
	(REPLY_HEAD_MAX - sizeof(struct nbd_extended_chunk_header) - sizeof(uint32_t) - sizeof(uint16_t))

static const char *error_words(const struct request *request)
{
	const char *words = request->why ? request->why : strerrordesc_np(-request->status);

	return words ? words : "unknown error";
}

/* NBD_REPLY_TYPE_ERROR */
static void put_error(struct head *head, const struct request *request, enum headers headers)
{
	const char *words = error_words(request);
	size_t length = strnlen(words, ERROR_WORDS_MAX);

	put_chunk(head, request, headers, NBD_REPLY_TYPE_ERROR, true,
		sizeof(uint32_t) + sizeof(uint16_t) + length);
	put32(head, nbd_error_of(request->status));
	put16(head, (uint16_t)length);
	put(head, words, length);
}

/* Data stops this at its first bytes. */
static bool is_zeroes(const uint8_t *data, size_t length)
{
	return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

/* Up to the next multiple of the grain, or the end of the read. */
static uint64_t part_end(const struct request *request, uint64_t from)
{
	uint64_t at = request->command.offset + from, end = from + REPLY_HOLE_GRAIN - at % REPLY_HOLE_GRAIN;

	return end < request->command.length ? end : request->command.length;
}

/* Parts of one kind, from @from on. Returns whether they are zeroes. */
static bool find_run(const struct request *request, uint64_t from, uint64_t *end)
{
	const uint8_t *data = buffer_data(request->buffer);
	uint64_t next = part_end(request, from);
	bool hole = is_zeroes(data + from, next - from);

	do {
		*end = next;
		next = part_end(request, next);
	} while (next > *end && is_zeroes(data + *end, next - *end) == hole);
	return hole;
}

/* "NBD_REPLY_TYPE_OFFSET_DATA", "NBD_REPLY_TYPE_OFFSET_HOLE". The last is final, because nothing can fail any more. */
static void put_read(struct head *head, const struct request *request, enum headers headers, uint64_t from,
	struct reply_piece *out)
{
	uint64_t offset = request->command.offset + from;
	bool hole = false;

	out->end = request->command.length;
	if (!(request->command.flags & NBD_CMD_FLAG_DF))
		hole = find_run(request, from, &out->end);
	out->last = out->end == request->command.length;
	if (hole) {
		put_chunk(head, request, headers, NBD_REPLY_TYPE_OFFSET_HOLE, out->last,
			sizeof(offset) + sizeof(uint32_t));
		put64(head, offset);
		put32(head, (uint32_t)(out->end - from));
	} else {
		out->data = buffer_data(request->buffer) + from;
		out->length = out->end - from;
		put_chunk(head, request, headers, NBD_REPLY_TYPE_OFFSET_DATA, out->last,
			sizeof(offset) + out->length);
		put64(head, offset);
	}
}

/* "NBD_REPLY_TYPE_BLOCK_STATUS", "NBD_REPLY_TYPE_BLOCK_STATUS_EXT": the head of a chunk with @count extents. */
static void put_status_head(struct head *head, const struct request *request, enum headers headers, bool last,
	enum meta_context context, uint32_t count)
{
	size_t length = count * extents_encoded_size(headers);

	if (headers == HEADERS_EXTENDED) {
		put_chunk(head, request, headers, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, last,
			2 * sizeof(uint32_t) + length);
		put32(head, context);
		put32(head, count);
	} else {
		put_chunk(
			head, request, headers, NBD_REPLY_TYPE_BLOCK_STATUS, last, sizeof(uint32_t) + length);
		put32(head, context);
	}
}

/* All that was asked about is alike: what the context has to tell is in its name. */
static void put_verifier(struct head *head, const struct request *request, enum headers headers)
{
	put_status_head(head, request, headers, true, META_VERIFIER, 1);
	if (headers == HEADERS_EXTENDED) {
		put64(head, request->status_length);
		put64(head, 0);
	} else {
		put32(head, (uint32_t)request->status_length);
		put32(head, 0);
	}
}

/* Where the chunk behind that of base:allocation begins, as a piece's end. */
#define BEHIND_ALLOCATION 1u

/* A chunk for each context. */
static void put_status(struct head *head, const struct request *request, enum headers headers, uint64_t from,
	struct reply_piece *out)
{
	if (from == BEHIND_ALLOCATION || !tells(request, META_ALLOCATION)) {
		put_verifier(head, request, headers);
		return;
	}
	out->data = buffer_data(request->buffer);
	out->length = request->block.extents.count * extents_encoded_size(headers);
	out->last = !tells(request, META_VERIFIER);
	out->end = BEHIND_ALLOCATION;
	put_status_head(head, request, headers, out->last, META_ALLOCATION, request->block.extents.count);
}

static void put_chunks(struct head *head, const struct request *request, enum headers headers, uint64_t from,
	struct reply_piece *out)
{
	if (request->status)
		put_error(head, request, headers);
	else if (is_read(request))
		put_read(head, request, headers, from, out);
	else if (is_status(request))
		put_status(head, request, headers, from, out);
	else if (headers == HEADERS_EXTENDED || request->command.type == NBD_CMD_BLOCK_STATUS)
		put_chunk(head, request, headers, NBD_REPLY_TYPE_NONE, true, 0);
	else
		put_simple(head, request);
}

void reply_next(const struct request *request, enum headers headers, uint64_t from, uint8_t *head,
	struct reply_piece *out)
{
	struct head writing = { .start = head, .at = head };

	*out = (struct reply_piece){ .last = true };
	if (headers != HEADERS_SIMPLE) {
		put_chunks(&writing, request, headers, from, out);
	} else {
		put_simple(&writing, request);
		if (is_read(request)) {
			out->data = buffer_data(request->buffer);
			out->length = request->command.length;
		}
	}
	out->head = (size_t)(writing.at - writing.start);
}
