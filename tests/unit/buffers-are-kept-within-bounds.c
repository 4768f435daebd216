/* Buffers have room for what was asked, stand where copies are fast, and free ones are kept only up to a limit.
 * If this fails, requests overwrite each other's data, or a server that was busy once never gives memory back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "server/buffer.h"

static void every_size_fits(void **state)
{
	static const size_t sizes[] = { 1, 511, 4095, 4096, 4097, 8192, 65537, 1 << 20, (1 << 20) + 1,
		32 << 20 };
	struct buffer_pool pool;

	(void)state;
	buffer_pool_init(&pool, 64 << 20);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct buffer *buffer = buffer_get(&pool, sizes[i]);

		assert_non_null(buffer);
		assert_int_equal((uintptr_t)buffer_data(buffer) % 4096, BUFFER_SKEW);
		memset(buffer_data(buffer), 0xff, sizes[i]);
		buffer_put(&pool, buffer);
	}
	buffer_pool_fini(&pool);
}

static void free_ones_come_again(void **state)
{
	struct buffer_pool pool;
	struct buffer *small, *other;

	(void)state;
	buffer_pool_init(&pool, 64 << 20);
	small = buffer_get(&pool, 4096);
	buffer_put(&pool, small);
	other = buffer_get(&pool, 4097);
	assert_ptr_not_equal(other, small);
	assert_ptr_equal(buffer_get(&pool, 100), small);
	buffer_put(&pool, small);
	buffer_put(&pool, other);
	assert_int_equal(pool.free_bytes, 4096 + 8192);
	buffer_pool_fini(&pool);
	assert_int_equal(pool.free_bytes, 0);
}

static void large_ones_go_first(void **state)
{
	struct buffer_pool pool;
	struct buffer *small, *large;

	(void)state;
	buffer_pool_init(&pool, 1 << 20);
	small = buffer_get(&pool, 4096);
	large = buffer_get(&pool, 1 << 20);
	buffer_put(&pool, large);
	assert_int_equal(pool.free_bytes, 1 << 20);
	buffer_put(&pool, small);
	assert_int_equal(pool.free_bytes, 4096);
	buffer_pool_fini(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size_fits),
		cmocka_unit_test(free_ones_come_again),
		cmocka_unit_test(large_ones_go_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
