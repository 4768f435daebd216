/* A disk of memory keeps what is written, reads as zeroes elsewhere, and gives memory back that is trimmed or zeroed.
 * If this fails, a RAM disk mixes up data, or a host runs out of memory that its clients have given back. */
#include "tests/unit/disks.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "cache/disk_memory.h"

#define MIB (1ull << 20)

static struct uring ring;

static int set_up(void **state)
{
	(void)state;
	return uring_init(&ring);
}

static int tear_down(void **state)
{
	(void)state;
	uring_fini(&ring);
	return 0;
}

static struct disk *open_memory(uint64_t size)
{
	struct disk *disk = NULL;

	assert_int_equal(disk_memory_open(size, &disk), 0);
	return disk;
}

/* Random ranges against a plain array. */
static void keeps_what_is_written(void **state)
{
	enum { SIZE = 300001 };
	static char expect[SIZE], data[SIZE];
	struct disk *disk = open_memory(SIZE);

	(void)state;
	memset(expect, 0, SIZE);
	srandom(1);
	for (int i = 0; i < 2000; i++) {
		size_t offset = (size_t)random() % SIZE;
		size_t length = 1 + (size_t)random() % (i % 3 ? 20000 : SIZE);
		enum block_op op = i % 2 ? BLOCK_WRITE : i % 4 ? BLOCK_ZERO : BLOCK_TRIM;

		if (length > SIZE - offset)
			length = SIZE - offset;
		memset(data, i, length);
		memset(expect + offset, op == BLOCK_WRITE ? i : 0, length);
		if (op == BLOCK_WRITE)
			assert_int_equal(ask_data(disk, &ring, op, 0, offset, data, length), 0);
		else
			assert_int_equal(
				ask_range(disk, &ring, op, i % 8 ? 0 : BLOCK_NO_HOLE, offset, length), 0);
	}
	assert_int_equal(ask_data(disk, &ring, BLOCK_READ, 0, 0, data, SIZE), 0);
	assert_memory_equal(data, expect, SIZE);
	disk_free(disk);
}

/* Resident pages of this process. */
static size_t resident(void)
{
	unsigned long all, here = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu %lu", &all, &here), 2);
	fclose(file);
	return here * 4096;
}

/* More than one step's worth. */
static void gives_memory_back(void **state)
{
	enum { WRITTEN = 100 * MIB };
	const enum block_op ops[2] = { BLOCK_TRIM, BLOCK_ZERO };
	char *data = calloc(1, MIB);
	struct disk *disk = open_memory(1ull << 40);
	size_t before, written;

	(void)state;
	for (int i = 0; i < 2; i++) {
		before = resident();
		memset(data, 7, MIB);
		for (uint64_t at = 0; at < WRITTEN; at += MIB)
			assert_int_equal(
				ask_data(disk, &ring, BLOCK_WRITE, 0, at + (512ull << 30), data, MIB), 0);
		written = resident();
		assert_true(written > before + WRITTEN / 2);
		assert_int_equal(
			ask_range(disk, &ring, ops[i], BLOCK_FAST_ZERO * (unsigned)i, 512ull << 30, WRITTEN),
			0);
		/* A sanitizer keeps a part of what it knows of the bytes. */
		assert_true(resident() < written - WRITTEN / 10 * 9);
		assert_int_equal(
			ask_data(disk, &ring, BLOCK_READ, 0, (512ull << 30) + WRITTEN - MIB, data, MIB), 0);
		assert_true(data[0] == 0 && data[MIB - 1] == 0);
	}
	free(data);
	disk_free(disk);
}

static void zeroes_may_stay_allocated(void **state)
{
	struct disk *disk = open_memory(100 * MIB);
	size_t before = resident();

	(void)state;
	assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, BLOCK_NO_HOLE, 0, 100 * MIB), 0);
	assert_true(resident() > before + 50 * MIB);
	disk_free(disk);
	assert_true(resident() < before + 50 * MIB);
}

static void tells_what_is_held(void **state)
{
	struct block_extent extents[8];
	struct asked asked = { .req = { .op = BLOCK_STATUS, .offset = 5, .length = 64 * MIB - 5 } };
	struct disk *disk = open_memory(1ull << 40);
	char byte = 1;

	(void)state;
	assert_true(disk->facts.can_status);
	assert_int_equal(ask_data(disk, &ring, BLOCK_WRITE, 0, 32 * MIB + 4097, &byte, 1), 0);
	asked.req.extents.list = extents;
	asked.req.extents.max = 8;
	assert_int_equal(ask(disk, &ring, &asked), 0);
	assert_int_equal(asked.req.extents.count, 3);
	assert_int_equal(extents[0].flags, BLOCK_EXTENT_HOLE | BLOCK_EXTENT_ZERO);
	assert_int_equal(extents[0].length + 5, 32 * MIB + 4096);
	assert_int_equal(extents[1].flags, 0);
	assert_int_equal(extents[1].length, 4096);
	assert_int_equal(extents[2].flags, BLOCK_EXTENT_HOLE | BLOCK_EXTENT_ZERO);
	assert_int_equal(extents[0].length + extents[1].length + extents[2].length, 64 * MIB - 5);

	asked.req.flags = BLOCK_ONE_EXTENT;
	asked.req.offset = 32 * MIB + 4096;
	asked.req.length = 100;
	asked.req.extents.max = 8;
	assert_int_equal(ask(disk, &ring, &asked), 0);
	assert_int_equal(asked.req.extents.count, 1);
	assert_true(extents[0].flags == 0 && extents[0].length == 100);

	/* More than is looked at: what is told is true, and not nothing. */
	assert_int_equal(ask_range(disk, &ring, BLOCK_TRIM, 0, 0, 64 * MIB), 0);
	asked.req.flags = 0;
	asked.req.offset = 0;
	asked.req.length = 1ull << 40;
	assert_int_equal(ask(disk, &ring, &asked), 0);
	assert_int_equal(asked.req.extents.count, 1);
	assert_int_equal(extents[0].flags, BLOCK_EXTENT_HOLE | BLOCK_EXTENT_ZERO);
	assert_in_range(extents[0].length, 64 * MIB, (1ull << 40) - 1);
	disk_free(disk);
}

static void has_every_command(void **state)
{
	struct disk *disk = open_memory(MIB);
	const struct disk_facts *facts = &disk->facts;

	(void)state;
	assert_int_equal(facts->size, MIB);
	assert_int_equal(facts->block_size_min, 1);
	assert_true(facts->can_flush && facts->can_fua && facts->can_trim && facts->can_zero &&
		    facts->can_fast_zero && facts->can_cache && facts->can_multi_conn);
	assert_false(facts->readonly || facts->volatile_cache);
	assert_int_equal(ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0), 0);
	assert_int_equal(ask_range(disk, &ring, BLOCK_CACHE, 0, 0, MIB), 0);
	disk_free(disk);
}

static void too_much_is_refused(void **state)
{
	struct disk *disk = NULL;

	(void)state;
	assert_int_equal(disk_memory_open(INT64_MAX, &disk), -ENOMEM);
	assert_null(disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_what_is_written),
		cmocka_unit_test(gives_memory_back),
		cmocka_unit_test(zeroes_may_stay_allocated),
		cmocka_unit_test(tells_what_is_held),
		cmocka_unit_test(has_every_command),
		cmocka_unit_test(too_much_is_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
