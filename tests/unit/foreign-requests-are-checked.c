/* disk_check() refuses every request that a disk must not see, with the errno that proto.md names.  If this fails, a
 * client reads or writes beyond the export, or changes a readonly one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache/disk.h"

static const struct disk_facts whole = {
	.size = 1 << 20,
	.block_size_min = 512,
	.block_size_preferred = 4096,
	.data_max = 64 << 10,
	.can_flush = true,
	.can_fua = true,
	.can_trim = true,
	.can_zero = true,
	.can_fast_zero = true,
	.can_cache = true,
};

static const struct disk_facts poor = { .size = 1 << 20, .block_size_min = 1, .data_max = 64 << 10 };

static const struct disk_facts readonly = {
	.size = 1 << 20,
	.block_size_min = 1,
	.data_max = 64 << 10,
	.readonly = true,
	.can_flush = true,
	.can_trim = true,
	.can_zero = true,
};

static const struct row {
	const struct disk_facts *facts;
	enum block_op op;
	unsigned flags;
	uint64_t offset, length;
	int expected;
} rows[] = {
	{ &whole, BLOCK_READ, 0, 0, 512, 0 },
	{ &whole, BLOCK_READ, 0, (1 << 20) - 512, 512, 0 },
	{ &whole, BLOCK_READ, 0, (1 << 20) - 512, 1024, -EINVAL },
	{ &whole, BLOCK_READ, 0, 1 << 20, 512, -EINVAL },
	{ &whole, BLOCK_READ, 0, UINT64_MAX - 511, 512, -EINVAL },
	{ &whole, BLOCK_READ, 0, 512, UINT64_MAX - 511, -EINVAL },
	{ &whole, BLOCK_READ, 0, 0, 0, -EINVAL },
	{ &whole, BLOCK_READ, 0, 1, 512, -EINVAL },
	{ &whole, BLOCK_READ, 0, 0, 511, -EINVAL },
	{ &whole, BLOCK_READ, 0, 0, 64 << 10, 0 },
	{ &whole, BLOCK_READ, 0, 0, (64 << 10) + 512, -EINVAL },
	{ &whole, BLOCK_WRITE, BLOCK_FUA, 0, 512, 0 },
	{ &whole, BLOCK_WRITE, 0, (1 << 20) - 512, 1024, -ENOSPC },
	{ &whole, BLOCK_WRITE, 0, UINT64_MAX, UINT64_MAX, -ENOSPC },
	{ &whole, BLOCK_FLUSH, 0, 0, 0, 0 },
	{ &whole, BLOCK_FLUSH, 0, UINT64_MAX, 7, 0 },
	{ &whole, BLOCK_TRIM, 0, 0, 1 << 20, 0 },
	{ &whole, BLOCK_TRIM, 0, 512, 1 << 20, -EINVAL },
	{ &whole, BLOCK_ZERO, BLOCK_NO_HOLE, 0, 1 << 20, 0 },
	{ &whole, BLOCK_ZERO, BLOCK_FAST_ZERO, 0, 1 << 20, 0 },
	{ &whole, BLOCK_ZERO, 0, 512, 1 << 20, -ENOSPC },
	{ &whole, BLOCK_CACHE, 0, 0, 1 << 20, 0 },
	{ &whole, BLOCK_CACHE, 0, 1 << 20, 512, -EINVAL },
	{ &poor, BLOCK_WRITE, 0, 3, 5, 0 },
	{ &poor, BLOCK_WRITE, BLOCK_FUA, 0, 512, -ENOTSUP },
	{ &poor, BLOCK_FLUSH, 0, 0, 0, -ENOTSUP },
	{ &poor, BLOCK_TRIM, 0, 0, 512, -ENOTSUP },
	{ &poor, BLOCK_ZERO, 0, 0, 512, -ENOTSUP },
	{ &poor, BLOCK_ZERO, BLOCK_FAST_ZERO, 0, 512, -ENOTSUP },
	{ &poor, BLOCK_CACHE, 0, 0, 512, -ENOTSUP },
	{ &readonly, BLOCK_READ, 0, 0, 512, 0 },
	{ &readonly, BLOCK_FLUSH, 0, 0, 0, 0 },
	{ &readonly, BLOCK_WRITE, 0, 0, 512, -EROFS },
	{ &readonly, BLOCK_WRITE, 0, 1 << 20, 512, -EROFS },
	{ &readonly, BLOCK_TRIM, 0, 0, 512, -EROFS },
	{ &readonly, BLOCK_ZERO, 0, 0, 512, -EROFS },
};

static void each_row(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct row *row = &rows[i];
		struct block_req req = {
			.op = row->op, .flags = row->flags, .offset = row->offset, .length = row->length
		};
		int status = disk_check(row->facts, &req);

		if (status != row->expected)
			fail_msg("row %zu: %d, expected %d", i, status, row->expected);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
