/* A request longer than a server takes becomes several commands that carry out every byte once, with a flush at the end
 * where the server has no FUA; after a lost connection all of it is done again.
 * If this fails, part of a large write is missing, or a write that was said to be stable is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>

#include "client/command.h"

#define KIB 1024u
#define MIB (1024u * KIB)

static struct flat_pool pool;

static int make_pool(void **state)
{
	(void)state;
	return flat_pool_init(&pool);
}

static int free_pool(void **state)
{
	(void)state;
	assert_int_equal(pool.small_free, FLAT_SMALL_COUNT);
	assert_int_equal(pool.large_free, FLAT_LARGE_COUNT);
	flat_pool_fini(&pool);
	return 0;
}

/* Carries out @command with every answer 0; the lengths of its commands in @lengths. Returns how many. */
static unsigned carry_out(struct command *command, const struct command_limits *limits, uint64_t *lengths)
{
	unsigned count = 0;

	do {
		assert_true(command_prepare(command, limits, &pool));
		lengths[count++] = command->length;
		command->status = 0;
	} while (command_advance(command, limits, &pool) && count < 100);
	return count;
}

static void data_is_cut_to_the_servers_maximum(void **state)
{
	static uint8_t data[5 * MIB];
	struct iovec iov = { data, sizeof(data) };
	struct block_req req = {
		.op = BLOCK_WRITE, .flags = BLOCK_FUA, .length = sizeof(data), .iov = &iov, .iov_count = 1
	};
	struct command_limits limits = { 2 * MIB, true, false };
	struct command command;
	uint64_t lengths[100];

	(void)state;
	command_start(&command, &req);
	assert_int_equal(carry_out(&command, &limits, lengths), 3);
	assert_int_equal(lengths[0], 2 * MIB);
	assert_int_equal(lengths[1], 2 * MIB);
	assert_int_equal(lengths[2], 1 * MIB);
}

static void scattered_data_is_cut_to_the_flat_buffers(void **state)
{
	static uint8_t data[4 * MIB];
	struct iovec iov[2] = { { data + 2 * MIB, 3 * MIB / 2 }, { data, 3 * MIB / 2 } };
	struct block_req req = { .op = BLOCK_READ, .length = 3 * MIB, .iov = iov, .iov_count = 2 };
	struct command_limits limits = { 32 * MIB, true, false };
	struct command command;

	(void)state;
	command_start(&command, &req);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(command_prepare(&command, &limits, &pool));
		assert_int_equal(command.length, MIB);
		/* Only the second million crosses from one piece to the other. */
		if (command.flat)
			memset(command.flat, 'a' + (int)i, command.length);
		else
			memset(i ? data + MIB / 2 : data + 2 * MIB, 'a' + (int)i, command.length);
		command.status = 0;
		assert_int_equal(command_advance(&command, &limits, &pool), i < 2);
	}
	assert_int_equal(data[2 * MIB], 'a');
	assert_int_equal(data[3 * MIB - 1], 'a');
	assert_int_equal(data[3 * MIB], 'b');
	assert_int_equal(data[3 * MIB + MIB / 2 - 1], 'b');
	assert_int_equal(data[3 * MIB + MIB / 2], 0);
	assert_int_equal(data[0], 'b');
	assert_int_equal(data[MIB / 2 - 1], 'b');
	assert_int_equal(data[MIB / 2], 'c');
	assert_int_equal(data[3 * MIB / 2 - 1], 'c');
	assert_int_equal(data[3 * MIB / 2], 0);
}

static void scattered_data_stays_where_it_is(void **state)
{
	static uint8_t data[5 * MIB];
	struct iovec iov[2] = { { data, MIB }, { data + 2 * MIB, 3 * MIB } }, pieces[3];
	struct block_req req = { .op = BLOCK_READ, .length = 4 * MIB, .iov = iov, .iov_count = 2 };
	struct command_limits limits = { 3 * MIB, true, true };
	struct command command;

	(void)state;
	command_start(&command, &req);
	assert_true(command_prepare(&command, &limits, &pool));
	assert_null(command.flat);
	assert_int_equal(command.length, 3 * MIB);
	assert_int_equal(command_data(&command, MIB - 1, MIB, pieces, 3), 2);
	assert_ptr_equal(pieces[0].iov_base, data + MIB - 1);
	assert_int_equal(pieces[0].iov_len, 1);
	assert_ptr_equal(pieces[1].iov_base, data + 2 * MIB);
	assert_int_equal(pieces[1].iov_len, MIB - 1);
	command.status = 0;
	assert_true(command_advance(&command, &limits, &pool));
	assert_true(command_prepare(&command, &limits, &pool));
	assert_int_equal(command.offset, 3 * MIB);
	assert_int_equal(command_data(&command, 0, MIB, pieces, 3), 1);
	assert_ptr_equal(pieces[0].iov_base, data + 4 * MIB);
}

static void ranges_are_cut_to_32_bits(void **state)
{
	struct block_req req = { .op = BLOCK_TRIM, .length = 10ull << 30 };
	struct command_limits limits = { 32 * MIB, true, false };
	struct command command;
	uint64_t lengths[100], sum = 0;
	unsigned count;

	(void)state;
	command_start(&command, &req);
	count = carry_out(&command, &limits, lengths);
	for (unsigned i = 0; i < count; i++) {
		assert_true(lengths[i] <= UINT32_MAX && lengths[i] % 65536 == 0);
		sum += lengths[i];
	}
	assert_int_equal(count, 3);
	assert_int_equal(sum, req.length);
}

static void a_flush_takes_the_place_of_fua(void **state)
{
	static const enum block_op ops[] = { BLOCK_TRIM, BLOCK_ZERO };
	struct command_limits limits = { 32 * MIB, false, false };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct block_req req = { .op = ops[i], .flags = BLOCK_FUA, .length = 4 * KIB };
		struct command command;
		uint64_t lengths[100];

		command_start(&command, &req);
		assert_int_equal(carry_out(&command, &limits, lengths), 2);
		assert_int_equal(lengths[0], 4 * KIB);
		assert_int_equal(lengths[1], 0);
		req.flags = 0;
		command_start(&command, &req);
		assert_int_equal(carry_out(&command, &limits, lengths), 1);
	}
}

static void an_error_ends_the_request(void **state)
{
	struct block_req req = { .op = BLOCK_ZERO, .flags = BLOCK_FUA, .length = 8ull << 30 };
	struct command_limits limits = { 32 * MIB, false, false };
	struct command command;

	(void)state;
	command_start(&command, &req);
	assert_true(command_prepare(&command, &limits, &pool));
	command.status = -ENOSPC;
	assert_false(command_advance(&command, &limits, &pool));
	assert_int_equal(command.status, -ENOSPC);
}

static void an_effect_too_long_is_tried_in_pieces(void **state)
{
	struct block_req req = { .op = BLOCK_ZERO, .length = 1ull << 30 };
	struct command_limits limits = { 32 * MIB, true, false };
	struct command command;
	uint64_t lengths[100];

	(void)state;
	command_start(&command, &req);
	assert_true(command_prepare(&command, &limits, &pool));
	assert_int_equal(command.length, 1ull << 30);
	command.status = -EOVERFLOW;
	assert_true(command_advance(&command, &limits, &pool));
	assert_int_equal(carry_out(&command, &limits, lengths), 32);
	/* One that is short enough and refused all the same is refused. */
	command_start(&command, &req);
	req.length = 32 * MIB;
	assert_true(command_prepare(&command, &limits, &pool));
	command.status = -EINVAL;
	assert_false(command_advance(&command, &limits, &pool));
	assert_int_equal(command.status, -EINVAL);
}

static void a_flush_is_one_command(void **state)
{
	struct block_req req = { .op = BLOCK_FLUSH };
	struct command_limits limits = { 32 * MIB, false, false };
	struct command command;
	uint64_t lengths[100];

	(void)state;
	command_start(&command, &req);
	assert_int_equal(carry_out(&command, &limits, lengths), 1);
	assert_int_equal(lengths[0], 0);
}

static void a_lost_connection_means_from_the_start(void **state)
{
	static uint8_t data[4 * MIB];
	struct iovec iov[2] = { { data + 2 * MIB, MIB }, { data, MIB } };
	struct block_req req = {
		.op = BLOCK_WRITE, .flags = BLOCK_FUA, .length = 2 * MIB, .iov = iov, .iov_count = 2
	};
	struct command_limits limits = { MIB / 2, false, false };
	struct command command;
	uint64_t lengths[100];

	(void)state;
	command_start(&command, &req);
	assert_int_equal(carry_out(&command, &limits, lengths), 5);
	assert_int_equal(command.part, COMMAND_FLUSH_AFTER);
	command_restart(&command, &pool);
	assert_int_equal(carry_out(&command, &limits, lengths), 5);
	/* Also in the middle, with a flat buffer in hand. */
	limits.data_max = 3 * MIB / 4;
	command_restart(&command, &pool);
	assert_true(command_prepare(&command, &limits, &pool));
	command.status = 0;
	assert_true(command_advance(&command, &limits, &pool));
	assert_true(command_prepare(&command, &limits, &pool));
	assert_non_null(command.flat);
	command_restart(&command, &pool);
	assert_null(command.flat);
	assert_int_equal(command.carried_out, 0);
}

static void without_a_flat_buffer_a_request_waits(void **state)
{
	static uint8_t data[8 * KIB];
	struct iovec iov[2] = { { data + 4 * KIB, KIB }, { data, KIB } };
	struct block_req req = { .op = BLOCK_READ, .length = 2 * KIB, .iov = iov, .iov_count = 2 };
	struct command_limits limits = { 32 * MIB, true, false };
	struct command command;
	unsigned small_free = pool.small_free;

	(void)state;
	command_start(&command, &req);
	pool.small_free = 0;
	assert_false(command_prepare(&command, &limits, &pool));
	assert_null(command.flat);
	pool.small_free = small_free;
	assert_true(command_prepare(&command, &limits, &pool));
	command.status = -EIO;
	assert_false(command_advance(&command, &limits, &pool));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(data_is_cut_to_the_servers_maximum, make_pool, free_pool),
		cmocka_unit_test_setup_teardown(
			scattered_data_is_cut_to_the_flat_buffers, make_pool, free_pool),
		cmocka_unit_test_setup_teardown(scattered_data_stays_where_it_is, make_pool, free_pool),
		cmocka_unit_test_setup_teardown(ranges_are_cut_to_32_bits, make_pool, free_pool),
		cmocka_unit_test_setup_teardown(a_flush_takes_the_place_of_fua, make_pool, free_pool),
		cmocka_unit_test_setup_teardown(an_error_ends_the_request, make_pool, free_pool),
		cmocka_unit_test_setup_teardown(an_effect_too_long_is_tried_in_pieces, make_pool, free_pool),
		cmocka_unit_test_setup_teardown(a_flush_is_one_command, make_pool, free_pool),
		cmocka_unit_test_setup_teardown(a_lost_connection_means_from_the_start, make_pool, free_pool),
		cmocka_unit_test_setup_teardown(without_a_flat_buffer_a_request_waits, make_pool, free_pool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
