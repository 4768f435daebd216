/* Every write that is kept is found again, whole and in order, until a flush has covered it; and what was reserved fits.
 * If this fails, a guest loses what it was told is written, or gets old data over new. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "client/replay.h"

#define ENTRIES 4096u

/* What has to be in it, by its number; the data of each is of this number. */
static struct {
	struct replay_entry entry;
	uint64_t mark; /* before it */
} model[ENTRIES];
static unsigned model_begin, model_end;
static struct replay replay;
static uint8_t data[REPLAY_DATA_MAX];

static void keep_one(enum block_op op, size_t length)
{
	struct replay_entry entry = {
		.op = op, .flags = model_end % 3, .offset = model_end * 4096ull, .length = length ? length : 1
	};
	size_t half = length / 2;
	struct iovec iov[2] = { { data, half }, { data + half, length - half } };

	memset(data, (int)model_end, length);
	model[model_end].mark = replay_mark(&replay);
	model[model_end++].entry = entry;
	replay_keep(&replay, &entry, iov, op == BLOCK_WRITE ? 2 : 0, 0);
}

static void check_all(void)
{
	uint64_t at = replay.begin;
	struct replay_entry found;

	for (unsigned i = model_begin; i < model_end; i++) {
		const struct replay_entry *entry = &model[i].entry;

		assert_true(replay_next(&replay, &at, &found));
		assert_int_equal(found.op, entry->op);
		assert_int_equal(found.flags, entry->flags);
		assert_int_equal(found.offset, entry->offset);
		assert_int_equal(found.length, entry->length);
		if (found.op == BLOCK_WRITE) {
			const uint8_t *bytes = found.data;

			assert_int_equal(bytes[0], i & 0xff);
			assert_int_equal(bytes[found.length - 1], i & 0xff);
		}
	}
	assert_false(replay_next(&replay, &at, &found));
}

static void begin(size_t size)
{
	assert_int_equal(replay_init(&replay, size), 0);
	model_begin = model_end = 0;
}

/* Up to sixteen are in flight, of all sizes, and end in any order; now and then a flush succeeds. */
static void random_writes_are_found_again(void **state)
{
	size_t in_flight[16];
	unsigned count = 0, full = 0;

	(void)state;
	srandom(7);
	begin(REPLAY_BYTES_MIN);
	while (model_end < ENTRIES) {
		unsigned dice = (unsigned)random() % 16;

		if (dice < 8 && count < 16) {
			size_t length =
				dice ? 1 + (size_t)random() % (dice == 1 ? REPLAY_DATA_MAX : 70000) : 0;

			if (replay_reserve(&replay, length))
				in_flight[count++] = length;
			else
				full++;
		} else if (dice < 15 && count) {
			unsigned which = (unsigned)random() % count;
			size_t length = in_flight[which];

			in_flight[which] = in_flight[--count];
			if (dice == 14)
				replay_release(&replay, length);
			else
				keep_one(length ? BLOCK_WRITE : BLOCK_ZERO, length);
		} else if (model_begin < model_end && random() % 8 == 0) {
			unsigned next = model_begin + 1 + (unsigned)random() % (model_end - model_begin);

			replay_drop(&replay, next < model_end ? model[next].mark : replay_mark(&replay));
			model_begin = next;
			check_all();
		}
	}
	assert_true(full > 0);
	check_all();
	replay_fini(&replay);
}

static void an_old_mark_drops_nothing(void **state)
{
	uint64_t old;

	(void)state;
	begin(REPLAY_BYTES_MIN);
	assert_true(replay_reserve(&replay, 5));
	keep_one(BLOCK_WRITE, 5);
	old = replay_mark(&replay);
	replay_drop(&replay, old);
	assert_true(replay_is_empty(&replay));
	model_begin = 1;
	assert_true(replay_reserve(&replay, 7));
	keep_one(BLOCK_WRITE, 7);
	replay_drop(&replay, old);
	check_all();
	replay_fini(&replay);
}

static void there_is_room_for_the_longest(void **state)
{
	unsigned count = 0;

	(void)state;
	begin(REPLAY_BYTES_MIN);
	while (replay_reserve(&replay, REPLAY_DATA_MAX))
		count++;
	assert_true(count >= 4);
	for (unsigned i = 0; i < count; i++)
		keep_one(BLOCK_WRITE, REPLAY_DATA_MAX);
	assert_true(replay_is_filling(&replay));
	check_all();
	replay_fini(&replay);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_writes_are_found_again),
		cmocka_unit_test(an_old_mark_drops_nothing),
		cmocka_unit_test(there_is_room_for_the_longest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
