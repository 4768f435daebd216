/* The pieces of each reply are those that the negotiated form of replies demands.
 * If this fails, a client loses its place in the stream of replies, and data ends up in the wrong request. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "server/extents.h"
#include "server/reply.h"

#define COOKIE "\x01\x02\x03\x04\x05\x06\x07\x08"
#define GRAIN  REPLY_HOLE_GRAIN

static struct buffer_pool pool;

/* At 0x1000, of 0x200 bytes, which are all 'd'. */
static struct request request_for(uint16_t type, int status, const char *why)
{
	struct request request = {
		.magic = REQUEST_MAGIC,
		.command = { .type = type, .cookie = 0x0102030405060708, .offset = 0x1000, .length = 0x200 },
		.status = status,
		.why = why,
		.buffer = buffer_get(&pool, 4096),
	};

	memset(buffer_data(request.buffer), 'd', 0x200);
	return request;
}

/* The whole reply is this head and so much data. */
static void expect(
	struct request request, enum headers headers, const char *bytes, size_t length, size_t data)
{
	uint8_t out[REPLY_HEAD_MAX];
	struct reply_piece piece;

	assert_true(data == 0 || reply_has_data(&request));
	reply_next(&request, headers, 0, out, &piece);
	assert_int_equal(piece.head, length);
	assert_memory_equal(out, bytes, length);
	assert_int_equal(piece.length, data);
	assert_true(piece.last);
	assert_true(data == 0 || piece.data == buffer_data(request.buffer));
	buffer_put(&pool, request.buffer);
}

#define SIMPLE(error)	       "\x67\x44\x66\x98\0\0\0" error COOKIE, 16
#define CHUNK(type, length)    "\x66\x8e\x33\xef\0\1" type COOKIE "\0\0\0" length
#define EXTENDED(type, length) "\x6e\x8a\x27\x8c\0\1" type COOKIE "\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\0" length

static void simple_replies(void **state)
{
	(void)state;
	expect(request_for(NBD_CMD_READ, 0, NULL), HEADERS_SIMPLE, SIMPLE("\0"), 0x200);
	expect(request_for(NBD_CMD_READ, -EIO, NULL), HEADERS_SIMPLE, SIMPLE("\5"), 0);
	expect(request_for(NBD_CMD_WRITE, 0, NULL), HEADERS_SIMPLE, SIMPLE("\0"), 0);
}

static void structured_replies(void **state)
{
	const enum headers headers = HEADERS_STRUCTURED;

	(void)state;
	expect(request_for(NBD_CMD_READ, 0, NULL), headers,
		"\x66\x8e\x33\xef\0\1\0\1" COOKIE "\0\0\x02\x08\0\0\0\0\0\0\x10\0", 28, 0x200);
	expect(request_for(NBD_CMD_WRITE, 0, NULL), headers, SIMPLE("\0"), 0);
	expect(request_for(NBD_CMD_READ, -EINVAL, "no"), headers, CHUNK("\x80\1", "\x08") "\0\0\0\x16\0\2no",
		28, 0);
	expect(request_for(NBD_CMD_WRITE, -EIO, NULL), headers,
		CHUNK("\x80\1", "\x18") "\0\0\0\5\0\x12Input/output error", 44, 0);
}

static void extended_replies(void **state)
{
	const enum headers headers = HEADERS_EXTENDED;

	(void)state;
	expect(request_for(NBD_CMD_READ, 0, NULL), headers,
		"\x6e\x8a\x27\x8c\0\1\0\1" COOKIE "\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\2\x08\0\0\0\0\0\0\x10\0",
		40, 0x200);
	expect(request_for(NBD_CMD_WRITE, 0, NULL), headers, EXTENDED("\0\0", "\0"), 32, 0);
	expect(request_for(NBD_CMD_READ, -EINVAL, "no"), headers,
		EXTENDED("\x80\1", "\x08") "\0\0\0\x16\0\2no", 40, 0);
}

static void long_words_are_cut(void **state)
{
	static char words[REPLY_HEAD_MAX + 1];
	struct request bad = request_for(NBD_CMD_READ, -EINVAL, memset(words, 'w', REPLY_HEAD_MAX));
	uint8_t out[REPLY_HEAD_MAX];
	struct reply_piece piece;

	(void)state;
	reply_next(&bad, HEADERS_EXTENDED, 0, out, &piece);
	assert_int_equal(piece.head, REPLY_HEAD_MAX);
	buffer_put(&pool, bad.buffer);
}

static struct request status_of(const struct block_extent *extents, unsigned count, enum headers headers)
{
	struct request request = request_for(NBD_CMD_BLOCK_STATUS, 0, NULL);

	request.block.extents.list = (struct block_extent *)buffer_data(request.buffer);
	request.block.extents.count = count;
	request.contexts = count > 0 ? META_BIT(META_ALLOCATION) : 0;
	memcpy(request.block.extents.list, extents, count * sizeof(*extents));
	extents_encode(&request.block, headers);
	return request;
}

static void block_status(void **state)
{
	static const struct block_extent extents[] = { { 0x200, 0 },
		{ 0x300000000, BLOCK_EXTENT_HOLE | BLOCK_EXTENT_ZERO }, { 7, 0 } };
	struct request request = status_of(extents, 3, HEADERS_EXTENDED);

	(void)state;
	assert_memory_equal(buffer_data(request.buffer),
		"\0\0\0\0\0\0\2\0\0\0\0\0\0\0\0\0"
		"\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\3"
		"\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\0",
		48);
	expect(request, HEADERS_EXTENDED, EXTENDED("\0\6", "\x38") "\0\0\0\1\0\0\0\3", 40, 48);
	/* 32 bits end with what they cannot tell. */
	request = status_of(extents, 3, HEADERS_STRUCTURED);
	assert_memory_equal(buffer_data(request.buffer),
		"\0\0\2\0\0\0\0\0"
		"\xff\xff\0\0\0\0\0\3",
		16);
	expect(request, HEADERS_STRUCTURED, CHUNK("\0\5", "\x14") "\0\0\0\1", 24, 16);
	/* No context, no chunk for one. */
	request = status_of(extents, 0, HEADERS_EXTENDED);
	assert_false(reply_has_data(&request));
	expect(request, HEADERS_EXTENDED, EXTENDED("\0\0", "\0"), 32, 0);
}

/* Two contexts are two chunks; that of the verifier tells of all bytes alike. */
static void block_status_of_the_verifier(void **state)
{
	static const struct block_extent extents[] = { { 0x200, 0 } };
	struct request request = status_of(extents, 1, HEADERS_STRUCTURED);
	uint8_t out[REPLY_HEAD_MAX];
	struct reply_piece piece;

	(void)state;
	request.contexts = META_BIT(META_ALLOCATION) | META_BIT(META_VERIFIER);
	request.status_length = 0x200;
	reply_next(&request, HEADERS_STRUCTURED, 0, out, &piece);
	assert_int_equal(piece.head, 24);
	assert_memory_equal(out, "\x66\x8e\x33\xef\0\0\0\5" COOKIE "\0\0\0\x0c\0\0\0\1", 24);
	assert_int_equal(piece.length, 8);
	assert_false(piece.last);
	reply_next(&request, HEADERS_STRUCTURED, piece.end, out, &piece);
	assert_int_equal(piece.head, 32);
	assert_memory_equal(out, CHUNK("\0\5", "\x0c") "\0\0\0\2\0\0\2\0\0\0\0\0", 32);
	assert_true(piece.length == 0 && piece.last);
	buffer_put(&pool, request.buffer);
	/* Alone. */
	request = request_for(NBD_CMD_BLOCK_STATUS, 0, NULL);
	request.contexts = META_BIT(META_VERIFIER);
	request.status_length = 0x300000000;
	assert_false(reply_has_data(&request));
	expect(request, HEADERS_EXTENDED,
		EXTENDED("\0\6", "\x18") "\0\0\0\2\0\0\0\1\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0", 56, 0);
}

/* A read of @length bytes at @offset that is data where @map (a character a grain of the export) says so. */
static struct request read_of(uint64_t offset, uint64_t length, const char *map)
{
	struct request request = { .magic = REQUEST_MAGIC,
		.command = { .type = NBD_CMD_READ, .offset = offset, .length = length },
		.buffer = buffer_get(&pool, length) };

	for (uint64_t i = 0; i < length; i++)
		buffer_data(request.buffer)[i] = map[(offset + i) / GRAIN] == 'd' ? 'd' : 0;
	return request;
}

static void expect_pieces(struct request request, const char *kinds, const uint64_t *ends)
{
	uint64_t from = 0;

	for (size_t i = 0; kinds[i]; i++) {
		uint8_t head[REPLY_HEAD_MAX];
		struct reply_piece piece;

		reply_next(&request, HEADERS_STRUCTURED, from, head, &piece);
		assert_int_equal(nbd_get16(head + 6),
			kinds[i] == 'd' ? NBD_REPLY_TYPE_OFFSET_DATA : NBD_REPLY_TYPE_OFFSET_HOLE);
		assert_int_equal(nbd_get64(head + 20), request.command.offset + from);
		assert_int_equal(piece.end, ends[i]);
		assert_int_equal(piece.last, !kinds[i + 1]);
		assert_int_equal(nbd_get16(head + 4), piece.last ? NBD_REPLY_FLAG_DONE : 0);
		assert_int_equal(piece.length, kinds[i] == 'd' ? piece.end - from : 0);
		if (kinds[i] == 'd')
			assert_ptr_equal(piece.data, buffer_data(request.buffer) + from);
		else
			assert_int_equal(nbd_get32(head + 28), piece.end - from);
		from = piece.end;
	}
	buffer_put(&pool, request.buffer);
}

#define ENDS(...) ((const uint64_t[]){ __VA_ARGS__ })

static void zeroes_are_holes(void **state)
{
	struct request request;

	(void)state;
	expect_pieces(read_of(0, GRAIN, "d"), "d", ENDS(GRAIN));
	expect_pieces(read_of(0, 3 * GRAIN, "000"), "0", ENDS(3 * GRAIN));
	expect_pieces(read_of(100, 1, "0"), "0", ENDS(1));
	expect_pieces(read_of(0, 5 * GRAIN, "dd00d"), "d0d", ENDS(2 * GRAIN, 4 * GRAIN, 5 * GRAIN));
	expect_pieces(read_of(GRAIN - 1, GRAIN + 2, "0d0"), "0d0", ENDS(1, GRAIN + 1, GRAIN + 2));
	/* A zero in front, or behind, is no hole yet. */
	request = read_of(0, 2 * GRAIN, "00");
	buffer_data(request.buffer)[GRAIN - 1] = 1;
	buffer_data(request.buffer)[GRAIN] = 1;
	expect_pieces(request, "d", ENDS(2 * GRAIN));
	/* "don't fragment" */
	request = read_of(0, 3 * GRAIN, "d0d");
	request.command.flags = NBD_CMD_FLAG_DF;
	expect_pieces(request, "d", ENDS(3 * GRAIN));
}

static int set_up(void **state)
{
	(void)state;
	buffer_pool_init(&pool, 64 << 20);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	buffer_pool_fini(&pool);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(simple_replies),
		cmocka_unit_test(structured_replies),
		cmocka_unit_test(extended_replies),
		cmocka_unit_test(long_words_are_cut),
		cmocka_unit_test(block_status),
		cmocka_unit_test(block_status_of_the_verifier),
		cmocka_unit_test(zeroes_are_holes),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
