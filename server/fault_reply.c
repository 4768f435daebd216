/* server/fault_reply.c -- makes the whole reply, then breaks it. */
#include "server/fault_reply.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "server/nbd_wire.h"
#include "server/reply.h"

/* All pieces of the reply, one behind the other. @out: NULL, or where they go. Returns their bytes. */
static size_t write_pieces(const struct request *request, enum headers headers, uint8_t *out)
{
	uint8_t head[REPLY_HEAD_MAX];
	struct reply_piece piece;
	uint64_t from = 0;
	size_t length = 0;

	do {
		reply_next(request, headers, from, head, &piece);
		if (out) {
			memcpy(out + length, head, piece.head);
			if (piece.length > 0)
				memcpy(out + length + piece.head, piece.data, piece.length);
		}
		length += piece.head + piece.length;
		from = piece.end;
	} while (!piece.last);
	return length;
}

static void cut_at(struct raw_reply *raw, size_t length)
{
	raw->ends = true;
	if (length < raw->length)
		raw->length = length;
}

static void cut_before(struct raw_reply *raw, const struct fault_effect *effect)
{
	(void)effect;
	cut_at(raw, 0);
}

static void cut_amid(struct raw_reply *raw, const struct fault_effect *effect)
{
	(void)effect;
	cut_at(raw, raw->length / 2);
}

static void cut_after(struct raw_reply *raw, const struct fault_effect *effect)
{
	(void)effect;
	cut_at(raw, raw->length);
}

static void cut_at_byte(struct raw_reply *raw, const struct fault_effect *effect)
{
	cut_at(raw, effect->arguments[0]);
}

static void flip(uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)~bytes[i];
}

/* Every kind of head begins with its magic number, ... */
static void spoil_magic(struct raw_reply *raw, const struct fault_effect *effect)
{
	(void)effect;
	flip(raw->bytes, sizeof(uint32_t));
}

/* ... and has its cookie in the same place. */
static void spoil_cookie(struct raw_reply *raw, const struct fault_effect *effect)
{
	static_assert(
		offsetof(struct nbd_simple_reply, cookie) == offsetof(struct nbd_chunk_header, cookie) &&
			offsetof(struct nbd_simple_reply, cookie) ==
				offsetof(struct nbd_extended_chunk_header, cookie),
		"one place for all");
	(void)effect;
	flip(raw->bytes + offsetof(struct nbd_simple_reply, cookie), sizeof(uint64_t));
}

static void lengthen_chunk(struct raw_reply *raw)
{
	struct nbd_chunk_header header;

	memcpy(&header, raw->bytes, sizeof(header));
	header.length = htobe32(be32toh(header.length) + FAULT_REPLY_EXTRA);
	memcpy(raw->bytes, &header, sizeof(header));
}

static void lengthen_extended(struct raw_reply *raw)
{
	struct nbd_extended_chunk_header header;

	memcpy(&header, raw->bytes, sizeof(header));
	header.length = htobe64(be64toh(header.length) + FAULT_REPLY_EXTRA);
	memcpy(raw->bytes, &header, sizeof(header));
}

/* There is room for what follows. */
static void spoil_length(struct raw_reply *raw, const struct fault_effect *effect)
{
	uint32_t magic;

	(void)effect;
	memcpy(&magic, raw->bytes, sizeof(magic));
	magic = be32toh(magic);
	if (magic == NBD_STRUCTURED_REPLY_MAGIC) {
		lengthen_chunk(raw);
	} else if (magic == NBD_EXTENDED_REPLY_MAGIC) {
		lengthen_extended(raw);
	} else {
		memset(raw->bytes + raw->length, 0, FAULT_REPLY_EXTRA);
		raw->length += FAULT_REPLY_EXTRA;
	}
}

static void repeat(struct raw_reply *raw, const struct fault_effect *effect)
{
	(void)effect;
	raw->copies = 2;
}

static void (*const rows[FAULT_ACTIONS])(struct raw_reply *raw, const struct fault_effect *effect) = {
	[FAULT_DO_close_before] = cut_before,
	[FAULT_DO_close_amid] = cut_amid,
	[FAULT_DO_close_after] = cut_after,
	[FAULT_DO_close_at] = cut_at_byte,
	[FAULT_DO_wrong_cookie] = spoil_cookie,
	[FAULT_DO_wrong_magic] = spoil_magic,
	[FAULT_DO_wrong_length] = spoil_length,
	[FAULT_DO_twice] = repeat,
};

bool fault_reply_changes(enum fault_action action)
{
	return action != FAULT_DO_NOTHING && rows[action];
}

struct raw_reply *fault_reply_new(
	const struct fault_effect *effect, const struct request *request, enum headers headers)
{
	size_t length = write_pieces(request, headers, NULL);
	struct raw_reply *raw = malloc(sizeof(*raw) + length + FAULT_REPLY_EXTRA);

	if (!raw)
		return NULL;
	*raw = (struct raw_reply){ .copies = 1, .length = length };
	write_pieces(request, headers, raw->bytes);
	rows[effect->action](raw, effect);
	return raw;
}
