/* Each command a client may send is accepted, or refused with the error that the specification names.
 * If this fails, a client gets garbage for an error, or writes where it must not. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "server/command.h"

#define SIZE (64u << 20)

static const struct disk_facts all = {
	.size = SIZE,
	.block_size_min = 1,
	.block_size_preferred = 4096,
	.data_max = 32 << 20,
	.can_flush = true,
	.can_fua = true,
	.can_trim = true,
	.can_zero = true,
	.can_fast_zero = true,
	.can_cache = true,
};
#define LARGE (1ull << 40)
static const struct disk_facts large = { .size = LARGE,
	.block_size_min = 512,
	.data_max = 32 << 20,
	.can_trim = true,
	.can_zero = true,
	.can_cache = true };
static const struct disk_facts none = { .size = SIZE, .block_size_min = 1, .data_max = 32 << 20 };
static const struct disk_facts readonly = {
	.size = SIZE, .block_size_min = 1, .data_max = 32 << 20, .readonly = true, .can_flush = true
};
static const struct disk_facts blocks = { .size = SIZE, .block_size_min = 512, .data_max = 32 << 20 };

#define FUA	NBD_CMD_FLAG_FUA
#define DF	NBD_CMD_FLAG_DF
#define HOLE	NBD_CMD_FLAG_NO_HOLE
#define FAST	NBD_CMD_FLAG_FAST_ZERO
#define ONE	NBD_CMD_FLAG_REQ_ONE
#define PAYLOAD NBD_CMD_FLAG_PAYLOAD_LEN

#define SIMPLE                        \
	{                             \
		HEADERS_SIMPLE, false \
	}
#define CHUNKS                            \
	{                                 \
		HEADERS_STRUCTURED, false \
	}
#define STATUS                                                \
	{                                                     \
		HEADERS_STRUCTURED, META_BIT(META_ALLOCATION) \
	}
#define EXTENDED                    \
	{                           \
		HEADERS_EXTENDED, 0 \
	}
#define EXTENDED_STATUS                                     \
	{                                                   \
		HEADERS_EXTENDED, META_BIT(META_ALLOCATION) \
	}

static const struct {
	const struct disk_facts *facts;
	struct command command;
	struct dialect dialect;
	int error;
	enum block_op op;
	unsigned flags;
} cases[] = {
	{ &all, { NBD_CMD_READ, 0, 1, 0, 1, 0 }, SIMPLE, 0, BLOCK_READ, 0 },
	{ &all, { NBD_CMD_READ, FUA, 1, SIZE - 1, 1, 0 }, SIMPLE, 0, BLOCK_READ, 0 },
	{ &all, { NBD_CMD_READ, DF, 1, 0, 32 << 20, 0 }, CHUNKS, 0, BLOCK_READ, 0 },
	{ &all, { NBD_CMD_READ, DF, 1, 0, 1, 0 }, SIMPLE, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, HOLE, 1, 0, 1, 0 }, CHUNKS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, 0x8000, 1, 0, 1, 0 }, CHUNKS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, 0, 1, 0, 0, 0 }, CHUNKS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, 0, 1, SIZE, 1, 0 }, CHUNKS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, 0, 1, SIZE - 1, 2, 0 }, CHUNKS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, 0, 1, UINT64_MAX, 2, 0 }, CHUNKS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, 0, 1, 0, (32 << 20) + 1, 0 }, CHUNKS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, 0, 1, 0, UINT32_MAX, 0 }, CHUNKS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_WRITE, 0, 1, 5, 7, 0 }, SIMPLE, 0, BLOCK_WRITE, 0 },
	{ &all, { NBD_CMD_WRITE, FUA, 1, 5, 7, 0 }, SIMPLE, 0, BLOCK_WRITE, BLOCK_FUA },
	{ &all, { NBD_CMD_WRITE, DF, 1, 5, 7, 0 }, CHUNKS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_WRITE, 0, 1, SIZE - 1, 2, 0 }, CHUNKS, -ENOSPC, 0, 0 },
	{ &all, { NBD_CMD_WRITE, 0, 1, UINT64_MAX - 1, 2, 0 }, CHUNKS, -ENOSPC, 0, 0 },
	{ &all, { NBD_CMD_WRITE, 0, 1, 0, 0, 0 }, CHUNKS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_FLUSH, FUA, 1, 0, 0, 0 }, SIMPLE, 0, BLOCK_FLUSH, 0 },
	{ &all, { NBD_CMD_FLUSH, 0, 1, 1, 0, 0 }, SIMPLE, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_FLUSH, 0, 1, 0, 1, 0 }, SIMPLE, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_TRIM, FUA, 1, 0, SIZE, 0 }, SIMPLE, 0, BLOCK_TRIM, BLOCK_FUA },
	{ &all, { NBD_CMD_TRIM, HOLE, 1, 0, SIZE, 0 }, SIMPLE, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_TRIM, 0, 1, 1, SIZE, 0 }, SIMPLE, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_CACHE, FUA, 1, 0, SIZE, 0 }, SIMPLE, 0, BLOCK_CACHE, 0 },
	{ &all, { NBD_CMD_CACHE, 0, 1, 1, SIZE, 0 }, SIMPLE, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_WRITE_ZEROES, FUA | HOLE | FAST, 1, 0, SIZE, 0 }, SIMPLE, 0, BLOCK_ZERO,
		BLOCK_FUA | BLOCK_NO_HOLE | BLOCK_FAST_ZERO },
	{ &all, { NBD_CMD_WRITE_ZEROES, 0, 1, 1, SIZE, 0 }, SIMPLE, -ENOSPC, 0, 0 },
	{ &all, { NBD_CMD_BLOCK_STATUS, 0, 1, 0, 1, 0 }, CHUNKS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_BLOCK_STATUS, 0, 1, 0, 1, 0 }, STATUS, 0, BLOCK_STATUS, 0 },
	{ &none, { NBD_CMD_BLOCK_STATUS, ONE, 1, 0, SIZE, 0 }, STATUS, 0, BLOCK_STATUS, BLOCK_ONE_EXTENT },
	{ &all, { NBD_CMD_BLOCK_STATUS, 0, 1, 0, 0, 0 }, STATUS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_BLOCK_STATUS, 0, 1, 1, SIZE, 0 }, STATUS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_BLOCK_STATUS, DF, 1, 0, 1, 0 }, STATUS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_BLOCK_STATUS, PAYLOAD, 1, 0, 12, 12 }, STATUS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, ONE, 1, 0, 1, 0 }, STATUS, -EINVAL, 0, 0 },
	{ &blocks, { NBD_CMD_BLOCK_STATUS, 0, 1, 1, 512, 0 }, STATUS, -EINVAL, 0, 0 },
	/* Extended headers. */
	{ &all, { NBD_CMD_READ, DF, 1, 0, 1, 0 }, EXTENDED, 0, BLOCK_READ, 0 },
	{ &all, { NBD_CMD_READ, PAYLOAD, 1, 0, 1, 1 }, EXTENDED, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, 0, 1, 0, UINT64_MAX, 0 }, EXTENDED, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_WRITE, PAYLOAD, 1, 5, 7, 7 }, EXTENDED, 0, BLOCK_WRITE, 0 },
	{ &all, { NBD_CMD_WRITE, 0, 1, 5, 7, 0 }, EXTENDED, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_WRITE, PAYLOAD, 1, 5, 7, 7 }, CHUNKS, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_FLUSH, PAYLOAD, 1, 0, 8, 8 }, EXTENDED, -EINVAL, 0, 0 },
	{ &large, { NBD_CMD_WRITE_ZEROES, 0, 1, 512, LARGE - 512, 0 }, EXTENDED, 0, BLOCK_ZERO, 0 },
	{ &large, { NBD_CMD_TRIM, 0, 1, 0, LARGE, 0 }, EXTENDED, 0, BLOCK_TRIM, 0 },
	{ &large, { NBD_CMD_CACHE, 0, 1, 0, LARGE, 0 }, EXTENDED, 0, BLOCK_CACHE, 0 },
	{ &large, { NBD_CMD_BLOCK_STATUS, 0, 1, 0, LARGE, 0 }, EXTENDED_STATUS, 0, BLOCK_STATUS, 0 },
	{ &large, { NBD_CMD_BLOCK_STATUS, 0, 1, 1, LARGE, 0 }, EXTENDED_STATUS, -EINVAL, 0, 0 },
	{ &large, { NBD_CMD_WRITE_ZEROES, 0, 1, 1, UINT64_MAX, 0 }, EXTENDED, -ENOSPC, 0, 0 },
	{ &large, { NBD_CMD_BLOCK_STATUS, PAYLOAD | ONE, 1, 0, 12, 12 }, EXTENDED_STATUS, 0, BLOCK_STATUS,
		BLOCK_ONE_EXTENT },
	{ &large, { NBD_CMD_BLOCK_STATUS, PAYLOAD, 1, 0, 8, 8 }, EXTENDED_STATUS, 0, BLOCK_STATUS, 0 },
	{ &large, { NBD_CMD_BLOCK_STATUS, PAYLOAD, 1, 0, 0, 0 }, EXTENDED_STATUS, -EINVAL, 0, 0 },
	{ &large, { NBD_CMD_BLOCK_STATUS, PAYLOAD, 1, 0, 11, 11 }, EXTENDED_STATUS, -EINVAL, 0, 0 },
	{ &large, { NBD_CMD_BLOCK_STATUS, PAYLOAD, 1, 0, 20, 20 }, EXTENDED_STATUS, -EINVAL, 0, 0 },
	{ &large, { NBD_CMD_BLOCK_STATUS, PAYLOAD, 1, 0, 4, 4 }, EXTENDED_STATUS, -EINVAL, 0, 0 },
	{ &large, { NBD_CMD_BLOCK_STATUS, PAYLOAD, 1, 0, 12, 12 }, EXTENDED, -EINVAL, 0, 0 },
	{ &all, { 8, 0, 1, 0, 1, 0 }, CHUNKS, -EINVAL, 0, 0 },
	{ &all, { 0xffff, 0xffff, 1, 0, 1, 0 }, CHUNKS, -EINVAL, 0, 0 },
	/* What was not offered. */
	{ &none, { NBD_CMD_READ, 0, 1, 0, 1, 0 }, SIMPLE, 0, BLOCK_READ, 0 },
	{ &none, { NBD_CMD_WRITE, FUA, 1, 0, 1, 0 }, SIMPLE, -EINVAL, 0, 0 },
	{ &none, { NBD_CMD_FLUSH, 0, 1, 0, 0, 0 }, SIMPLE, -EINVAL, 0, 0 },
	{ &none, { NBD_CMD_TRIM, 0, 1, 0, 1, 0 }, SIMPLE, -EINVAL, 0, 0 },
	{ &none, { NBD_CMD_WRITE_ZEROES, 0, 1, 0, 1, 0 }, SIMPLE, -EINVAL, 0, 0 },
	{ &none, { NBD_CMD_WRITE_ZEROES, FAST, 1, 0, 1, 0 }, SIMPLE, -EINVAL, 0, 0 },
	{ &none, { NBD_CMD_CACHE, 0, 1, 0, 1, 0 }, SIMPLE, -EINVAL, 0, 0 },
	/* Readonly. */
	{ &readonly, { NBD_CMD_READ, 0, 1, 0, 1, 0 }, SIMPLE, 0, BLOCK_READ, 0 },
	{ &readonly, { NBD_CMD_FLUSH, 0, 1, 0, 0, 0 }, SIMPLE, 0, BLOCK_FLUSH, 0 },
	{ &readonly, { NBD_CMD_WRITE, 0, 1, 0, 1, 0 }, SIMPLE, -EROFS, 0, 0 },
	{ &readonly, { NBD_CMD_TRIM, 0, 1, 0, 1, 0 }, SIMPLE, -EROFS, 0, 0 },
	{ &readonly, { NBD_CMD_WRITE_ZEROES, 0, 1, 0, 1, 0 }, SIMPLE, -EROFS, 0, 0 },
	/* Off the grid of a disk that has one. */
	{ &blocks, { NBD_CMD_READ, 0, 1, 512, 1024, 0 }, SIMPLE, 0, BLOCK_READ, 0 },
	{ &blocks, { NBD_CMD_READ, 0, 1, 512, 1023, 0 }, SIMPLE, -EINVAL, 0, 0 },
	{ &blocks, { NBD_CMD_WRITE, 0, 1, 1, 512, 0 }, SIMPLE, -EINVAL, 0, 0 },
};

static void each_case(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct block_req block = { 0 };
		const char *why = "";
		int error = command_check(&cases[i].command, cases[i].facts, cases[i].dialect, &block, &why);

		if (error != cases[i].error)
			print_message("case %zu: %s\n", i, why);
		assert_int_equal(error, cases[i].error);
		if (error) {
			assert_non_null(why);
			continue;
		}
		assert_null(why);
		assert_int_equal(block.op, cases[i].op);
		assert_int_equal(block.flags, cases[i].flags);
		assert_int_equal(block.offset, cases[i].command.offset);
		assert_int_equal(block.length, cases[i].command.length);
	}
}

static void header_is_parsed(void **state)
{
	static const uint8_t bytes[] = { 0x25, 0x60, 0x95, 0x13, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0,
		0, 0, 0, 0x10, 0, 0, 0, 2, 0 };
	uint8_t wrong[sizeof(bytes)];
	struct command command;

	(void)state;
	assert_int_equal(command_parse(bytes, HEADERS_SIMPLE, &command), 0);
	assert_int_equal(command.type, NBD_CMD_WRITE_ZEROES);
	assert_int_equal(command.flags, NBD_CMD_FLAG_FUA);
	assert_true(command.cookie == 0x0102030405060708);
	assert_int_equal(command.offset, 4096);
	assert_int_equal(command.length, 512);
	assert_int_equal(command.payload, 0);
	memcpy(wrong, bytes, sizeof(wrong));
	wrong[3] = 0x14;
	assert_int_equal(command_parse(wrong, HEADERS_STRUCTURED, &command), -EBADMSG);
}

static void extended_header_is_parsed(void **state)
{
	uint8_t bytes[] = { 0x21, 0xe4, 0x1c, 0x71, 0, 0x21, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0,
		0x10, 0, 0x80, 0, 0, 1, 0, 0, 2, 0 };
	struct command command;

	(void)state;
	assert_int_equal(command_header_size(HEADERS_EXTENDED), sizeof(bytes));
	assert_int_equal(command_parse(bytes, HEADERS_EXTENDED, &command), 0);
	assert_int_equal(command.type, NBD_CMD_WRITE);
	assert_int_equal(command.flags, NBD_CMD_FLAG_FUA | PAYLOAD);
	assert_true(command.cookie == 0x0102030405060708);
	assert_int_equal(command.offset, 4096);
	assert_true(command.length == 0x8000000100000200);
	assert_true(command.payload == 0x8000000100000200);
	bytes[5] = 0;
	assert_int_equal(command_parse(bytes, HEADERS_EXTENDED, &command), 0);
	assert_true(command.payload == 0);
	assert_int_equal(command_parse(bytes, HEADERS_STRUCTURED, &command), -EBADMSG);
}

/* A block status that says in its payload what it is about. */
static int check_contexts(
	unsigned selected, const char *payload, uint64_t length, unsigned *contexts, uint64_t *about)
{
	struct command command = { NBD_CMD_BLOCK_STATUS, PAYLOAD, 1, 512, length, length };
	const struct dialect dialect = { HEADERS_EXTENDED, selected };
	struct block_req block = { 0 };
	const char *why;
	int error;

	assert_int_equal(command_check(&command, &large, dialect, &block, &why), 0);
	error = command_check_contexts(
		&command, &large, dialect, (const uint8_t *)payload, &block, contexts, &why);
	assert_true((error == 0) == (why == NULL));
	*about = block.length;
	return error;
}

static void contexts_are_checked(void **state)
{
	static const struct {
		unsigned selected;
		const char *payload;
		uint64_t length;
		int error;
		unsigned contexts;
		uint64_t about;
	} rows[] = {
		{ 2, "\0\0\0\x80\0\0\0\0\0\0\0\1", 12, 0, 2, 0x8000000000 },
		{ 6, "\0\0\0\x80\0\0\0\0\0\0\0\2", 12, 0, 4, 0x8000000000 },
		{ 6, "\0\0\0\x80\0\0\0\0\0\0\0\2\0\0\0\1", 16, 0, 6, 0x8000000000 },
		{ 6, "\0\0\0\0\0\0\2\0", 8, 0, 0, 512 },
		/* One that is not selected, is unknown, or twice there. */
		{ 2, "\0\0\0\x80\0\0\0\0\0\0\0\2", 12, -EINVAL, 0, 0 },
		{ 4, "\0\0\0\x80\0\0\0\0\0\0\0\1", 12, -EINVAL, 0, 0 },
		{ 6, "\0\0\0\x80\0\0\0\0\0\0\0\0", 12, -EINVAL, 0, 0 },
		{ 6, "\0\0\0\x80\0\0\0\0\0\0\0\3", 12, -EINVAL, 0, 0 },
		{ 6, "\0\0\0\x80\0\0\0\0\xff\xff\xff\xff", 12, -EINVAL, 0, 0 },
		{ 6, "\0\0\0\x80\0\0\0\0\0\0\0\1\0\0\0\1", 16, -EINVAL, 0, 0 },
		/* Past the end; off the grid; nothing. */
		{ 6, "\0\0\1\0\0\0\0\0\0\0\0\1", 12, -EINVAL, 0, 0 },
		{ 6, "\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\1", 12, -EINVAL, 0, 0 },
		{ 6, "\0\0\0\0\0\0\0\1", 8, -EINVAL, 0, 0 },
		{ 6, "\0\0\0\0\0\0\0\0\0\0\0\1", 12, -EINVAL, 0, 0 },
	};
	uint64_t about;
	unsigned contexts;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(
			check_contexts(rows[i].selected, rows[i].payload, rows[i].length, &contexts, &about),
			rows[i].error);
		if (rows[i].error)
			continue;
		assert_int_equal(contexts, rows[i].contexts);
		assert_int_equal(about, rows[i].about);
	}
}

static void errors_are_translated(void **state)
{
	static const struct {
		int status;
		enum nbd_error error;
	} pairs[] = { { 0, NBD_SUCCESS }, { -EPERM, NBD_EPERM }, { -EROFS, NBD_EPERM },
		{ -EACCES, NBD_EPERM }, { -EIO, NBD_EIO }, { -ENOMEM, NBD_ENOMEM }, { -EINVAL, NBD_EINVAL },
		{ -ENOSPC, NBD_ENOSPC }, { -EDQUOT, NBD_ENOSPC }, { -EFBIG, NBD_ENOSPC },
		{ -ENOTSUP, NBD_ENOTSUP }, { -EOVERFLOW, NBD_EOVERFLOW }, { -ESHUTDOWN, NBD_ESHUTDOWN },
		{ -ENODEV, NBD_EIO }, { -ETIMEDOUT, NBD_EIO } };

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
		assert_int_equal(nbd_error_of(pairs[i].status), pairs[i].error);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_case),
		cmocka_unit_test(header_is_parsed),
		cmocka_unit_test(extended_header_is_parsed),
		cmocka_unit_test(contexts_are_checked),
		cmocka_unit_test(errors_are_translated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
