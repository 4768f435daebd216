/* Data in many pieces is found whole, gathered and spread without a byte out of place, in memory that is bounded.
 * If this fails, a guest's blocks are mixed up, or the process grows with its guests' appetite. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "client/flat.h"
#include "client/scatter.h"

#define PIECES 4

/* 10 + 0 + 6 + 4 bytes; the first and third lie side by side. */
static uint8_t memory[64];
static struct iovec pieces[PIECES] = {
	{ memory, 10 },
	{ memory + 50, 0 },
	{ memory + 10, 6 },
	{ memory + 30, 4 },
};

static void neighbours_are_one_piece(void **state)
{
	(void)state;
	assert_ptr_equal(scatter_flat(pieces, PIECES, 0, 10), memory);
	assert_ptr_equal(scatter_flat(pieces, PIECES, 0, 16), memory);
	assert_ptr_equal(scatter_flat(pieces, PIECES, 9, 7), memory + 9);
	assert_ptr_equal(scatter_flat(pieces, PIECES, 10, 6), memory + 10);
	assert_ptr_equal(scatter_flat(pieces, PIECES, 16, 4), memory + 30);
	assert_null(scatter_flat(pieces, PIECES, 0, 17));
	assert_null(scatter_flat(pieces, PIECES, 15, 2));
}

static void any_part_is_gathered_and_spread(void **state)
{
	uint8_t whole[20], part[20];

	(void)state;
	for (size_t i = 0; i < sizeof(memory); i++)
		memory[i] = (uint8_t)i;
	scatter_gather(pieces, PIECES, 0, whole, sizeof(whole));
	for (size_t from = 0; from < sizeof(whole); from++) {
		for (size_t length = 1; from + length <= sizeof(whole); length++) {
			scatter_gather(pieces, PIECES, from, part, length);
			assert_memory_equal(part, whole + from, length);
			memset(part, 0xee, length);
			scatter_spread(pieces, PIECES, from, part, length);
			scatter_gather(pieces, PIECES, from, part, length);
			for (size_t i = 0; i < length; i++)
				assert_int_equal(part[i], 0xee);
			scatter_spread(pieces, PIECES, 0, whole, sizeof(whole));
		}
	}
	assert_int_equal(memory[16], 16);
	assert_int_equal(memory[29], 29);
	assert_int_equal(memory[34], 34);
}

static void flat_memory_ends(void **state)
{
	static void *taken[FLAT_SMALL_COUNT];
	struct flat_pool pool;

	(void)state;
	assert_int_equal(flat_pool_init(&pool), 0);
	for (unsigned i = 0; i < FLAT_SMALL_COUNT; i++) {
		taken[i] = flat_take(&pool, FLAT_SMALL_LENGTH);
		assert_non_null(taken[i]);
		memset(taken[i], (int)i, FLAT_SMALL_LENGTH);
	}
	assert_null(flat_take(&pool, 1));
	for (unsigned i = 0; i < FLAT_SMALL_COUNT; i++) {
		uint8_t *bytes = taken[i];

		assert_int_equal(bytes[0], (uint8_t)i);
		assert_int_equal(bytes[FLAT_SMALL_LENGTH - 1], (uint8_t)i);
	}
	for (unsigned i = 0; i < FLAT_LARGE_COUNT; i++) {
		taken[i] = flat_take(&pool, FLAT_LENGTH_MAX);
		assert_non_null(taken[i]);
		memset(taken[i], 0, FLAT_LENGTH_MAX);
	}
	assert_null(flat_take(&pool, FLAT_SMALL_LENGTH + 1));
	flat_put(&pool, taken[0], FLAT_SMALL_LENGTH + 1);
	assert_ptr_equal(flat_take(&pool, FLAT_LENGTH_MAX), taken[0]);
	flat_pool_fini(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neighbours_are_one_piece),
		cmocka_unit_test(any_part_is_gathered_and_spread),
		cmocka_unit_test(flat_memory_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
