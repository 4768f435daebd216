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
static const struct disk_facts none = { .size = SIZE, .block_size_min = 1, .data_max = 32 << 20 };
static const struct disk_facts readonly = {
	.size = SIZE, .block_size_min = 1, .data_max = 32 << 20, .readonly = true, .can_flush = true
};
static const struct disk_facts blocks = { .size = SIZE, .block_size_min = 512, .data_max = 32 << 20 };

#define FUA  NBD_CMD_FLAG_FUA
#define DF   NBD_CMD_FLAG_DF
#define HOLE NBD_CMD_FLAG_NO_HOLE
#define FAST NBD_CMD_FLAG_FAST_ZERO

static const struct {
	const struct disk_facts *facts;
	struct command command;
	bool structured;
	int error;
	enum block_op op;
	unsigned flags;
} cases[] = {
	{ &all, { NBD_CMD_READ, 0, 1, 0, 1 }, false, 0, BLOCK_READ, 0 },
	{ &all, { NBD_CMD_READ, FUA, 1, SIZE - 1, 1 }, false, 0, BLOCK_READ, 0 },
	{ &all, { NBD_CMD_READ, DF, 1, 0, 32 << 20 }, true, 0, BLOCK_READ, 0 },
	{ &all, { NBD_CMD_READ, DF, 1, 0, 1 }, false, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, HOLE, 1, 0, 1 }, true, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, 0x8000, 1, 0, 1 }, true, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, 0, 1, 0, 0 }, true, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, 0, 1, SIZE, 1 }, true, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, 0, 1, SIZE - 1, 2 }, true, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, 0, 1, UINT64_MAX, 2 }, true, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, 0, 1, 0, (32 << 20) + 1 }, true, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_READ, 0, 1, 0, UINT32_MAX }, true, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_WRITE, 0, 1, 5, 7 }, false, 0, BLOCK_WRITE, 0 },
	{ &all, { NBD_CMD_WRITE, FUA, 1, 5, 7 }, false, 0, BLOCK_WRITE, BLOCK_FUA },
	{ &all, { NBD_CMD_WRITE, DF, 1, 5, 7 }, true, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_WRITE, 0, 1, SIZE - 1, 2 }, true, -ENOSPC, 0, 0 },
	{ &all, { NBD_CMD_WRITE, 0, 1, UINT64_MAX - 1, 2 }, true, -ENOSPC, 0, 0 },
	{ &all, { NBD_CMD_WRITE, 0, 1, 0, 0 }, true, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_FLUSH, FUA, 1, 0, 0 }, false, 0, BLOCK_FLUSH, 0 },
	{ &all, { NBD_CMD_FLUSH, 0, 1, 1, 0 }, false, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_FLUSH, 0, 1, 0, 1 }, false, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_TRIM, FUA, 1, 0, SIZE }, false, 0, BLOCK_TRIM, BLOCK_FUA },
	{ &all, { NBD_CMD_TRIM, HOLE, 1, 0, SIZE }, false, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_TRIM, 0, 1, 1, SIZE }, false, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_CACHE, FUA, 1, 0, SIZE }, false, 0, BLOCK_CACHE, 0 },
	{ &all, { NBD_CMD_CACHE, 0, 1, 1, SIZE }, false, -EINVAL, 0, 0 },
	{ &all, { NBD_CMD_WRITE_ZEROES, FUA | HOLE | FAST, 1, 0, SIZE }, false, 0, BLOCK_ZERO,
		BLOCK_FUA | BLOCK_NO_HOLE | BLOCK_FAST_ZERO },
	{ &all, { NBD_CMD_WRITE_ZEROES, 0, 1, 1, SIZE }, false, -ENOSPC, 0, 0 },
	{ &all, { NBD_CMD_BLOCK_STATUS, 0, 1, 0, 1 }, true, -EINVAL, 0, 0 },
	{ &all, { 8, 0, 1, 0, 1 }, true, -EINVAL, 0, 0 },
	{ &all, { 0xffff, 0xffff, 1, 0, 1 }, true, -EINVAL, 0, 0 },
	/* What was not offered. */
	{ &none, { NBD_CMD_READ, 0, 1, 0, 1 }, false, 0, BLOCK_READ, 0 },
	{ &none, { NBD_CMD_WRITE, FUA, 1, 0, 1 }, false, -EINVAL, 0, 0 },
	{ &none, { NBD_CMD_FLUSH, 0, 1, 0, 0 }, false, -EINVAL, 0, 0 },
	{ &none, { NBD_CMD_TRIM, 0, 1, 0, 1 }, false, -EINVAL, 0, 0 },
	{ &none, { NBD_CMD_WRITE_ZEROES, 0, 1, 0, 1 }, false, -EINVAL, 0, 0 },
	{ &none, { NBD_CMD_WRITE_ZEROES, FAST, 1, 0, 1 }, false, -EINVAL, 0, 0 },
	{ &none, { NBD_CMD_CACHE, 0, 1, 0, 1 }, false, -EINVAL, 0, 0 },
	/* Readonly. */
	{ &readonly, { NBD_CMD_READ, 0, 1, 0, 1 }, false, 0, BLOCK_READ, 0 },
	{ &readonly, { NBD_CMD_FLUSH, 0, 1, 0, 0 }, false, 0, BLOCK_FLUSH, 0 },
	{ &readonly, { NBD_CMD_WRITE, 0, 1, 0, 1 }, false, -EROFS, 0, 0 },
	{ &readonly, { NBD_CMD_TRIM, 0, 1, 0, 1 }, false, -EROFS, 0, 0 },
	{ &readonly, { NBD_CMD_WRITE_ZEROES, 0, 1, 0, 1 }, false, -EROFS, 0, 0 },
	/* Off the grid of a disk that has one. */
	{ &blocks, { NBD_CMD_READ, 0, 1, 512, 1024 }, false, 0, BLOCK_READ, 0 },
	{ &blocks, { NBD_CMD_READ, 0, 1, 512, 1023 }, false, -EINVAL, 0, 0 },
	{ &blocks, { NBD_CMD_WRITE, 0, 1, 1, 512 }, false, -EINVAL, 0, 0 },
};

static void each_case(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct block_req block = { 0 };
		const char *why = "";
		int error =
			command_check(&cases[i].command, cases[i].facts, cases[i].structured, &block, &why);

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
	assert_int_equal(command_parse(bytes, &command), 0);
	assert_int_equal(command.type, NBD_CMD_WRITE_ZEROES);
	assert_int_equal(command.flags, NBD_CMD_FLAG_FUA);
	assert_true(command.cookie == 0x0102030405060708);
	assert_int_equal(command.offset, 4096);
	assert_int_equal(command.length, 512);
	memcpy(wrong, bytes, sizeof(wrong));
	wrong[3] = 0x14;
	assert_int_equal(command_parse(wrong, &command), -EBADMSG);
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
		cmocka_unit_test(errors_are_translated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
