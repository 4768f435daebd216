/* A zero reads as zeroes and a trim harms no neighbour, whatever the disk below can do: devices with sectors of 512 and
 * 4096 bytes that have holes or none, filesystems without ZERO_RANGE; with and without the page cache. And a fast zero
 * fails rather than write.  If this fails, a guest's mkfs leaves old data, or destroys what is beside a discard. */
#include "tests/unit/loop_disk.h"

enum { SIZE = 4 << 20 };

static char *model, *found;

static const struct extent {
	uint64_t offset, length;
} extents[] = {
	{ 0, 4096 },
	{ 8192, 65536 },
	{ 100001, 1 },
	{ 120000, 300 },	      /* inside a sector, or across two */
	{ 131072 - 5, 10 },	      /* two edges, no middle */
	{ 262144 - 100, 8192 + 200 }, /* two edges and a middle */
	{ 524288, 5000 },
	{ 600001, 2000000 },
	{ SIZE - 777, 777 },
};

static void fill(struct disk *disk)
{
	for (size_t i = 0; i < SIZE; i++)
		model[i] = (char)(i / 512 * 31 + i % 251 + 1);
	assert_int_equal(ask_data(disk, &ring, BLOCK_WRITE, 0, 0, model, SIZE), 0);
}

static void compare(struct disk *disk, size_t from, size_t to)
{
	assert_int_equal(ask_data(disk, &ring, BLOCK_READ, 0, 0, found, SIZE), 0);
	assert_memory_equal(found + from, model + from, to - from);
}

static void zero_each(struct disk *disk, unsigned flags)
{
	fill(disk);
	for (size_t i = 0; i < sizeof(extents) / sizeof(*extents); i++) {
		assert_int_equal(
			ask_range(disk, &ring, BLOCK_ZERO, flags, extents[i].offset, extents[i].length), 0);
		memset(model + extents[i].offset, 0, extents[i].length);
		compare(disk, 0, SIZE);
	}
}

/* It may fail; what it does it does right. */
static void fast_zero_each(struct disk *disk, unsigned flags)
{
	fill(disk);
	for (size_t i = 0; i < sizeof(extents) / sizeof(*extents); i++) {
		int status = ask_range(disk, &ring, BLOCK_ZERO, flags | BLOCK_FAST_ZERO, extents[i].offset,
			extents[i].length);

		assert_true(status == 0 || status == -ENOTSUP);
		if (status == 0)
			memset(model + extents[i].offset, 0, extents[i].length);
		compare(disk, 0, SIZE);
	}
}

static void trim_each(struct disk *disk)
{
	for (size_t i = 0; i < sizeof(extents) / sizeof(*extents); i++) {
		fill(disk);
		assert_int_equal(
			ask_range(disk, &ring, BLOCK_TRIM, BLOCK_FUA, extents[i].offset, extents[i].length),
			0);
		compare(disk, 0, extents[i].offset);
		compare(disk, extents[i].offset + extents[i].length, SIZE);
	}
}

static void each_way(const char *path)
{
	static const char *const modes[] = { "writeback", "none", "directsync" };

	for (int i = 0; i < 3; i++) {
		struct disk *disk = open_cache(path, modes[i]);

		zero_each(disk, 0);
		zero_each(disk, BLOCK_FUA);
		zero_each(disk, BLOCK_NO_HOLE);
		fast_zero_each(disk, 0);
		fast_zero_each(disk, BLOCK_NO_HOLE);
		trim_each(disk);
		disk_free(disk);
	}
}

static void on_device(const char *filesystem, const char *losetup_options)
{
	each_way(loop_disk_make(filesystem, "mode=0700", "4M", losetup_options));
	loop_disk_remove();
}

static void a_device_with_holes(void **state)
{
	(void)state;
	on_device("tmpfs", "");
}

static void a_device_of_large_sectors(void **state)
{
	(void)state;
	on_device("tmpfs", "--sector-size 4096");
}

static void a_device_without_holes(void **state)
{
	(void)state;
	on_device("ramfs", "");
}

static void a_fast_zero_on_such_a_device(void **state)
{
	struct disk *disk;

	(void)state;
	disk = open_cache(loop_disk_make("ramfs", "mode=0700", "4M", ""), "writeback");
	fill(disk);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, BLOCK_FAST_ZERO, 0, SIZE), -ENOTSUP);
		assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, BLOCK_FAST_ZERO | BLOCK_NO_HOLE, 0, SIZE),
			-ENOTSUP);
		assert_int_equal(ask_range(disk, &ring, BLOCK_TRIM, 0, 0, SIZE), 0);
	}
	compare(disk, 0, SIZE);
	disk_free(disk);
	loop_disk_remove();
}

static void a_file(void **state)
{
	char path[256];

	(void)state;
	temporary_file(path, sizeof(path), SIZE);
	each_way(path);
	unlink(path);
}

/* tmpfs punches holes and has no ZERO_RANGE: zeroes that may not be a hole are written. */
static void a_file_without_zero_range(void **state)
{
	char path[256];
	struct disk *disk;

	(void)state;
	setenv("TMPDIR", "/dev/shm", 1);
	temporary_file(path, sizeof(path), SIZE);
	disk = open_cache(path, "writeback");
	zero_each(disk, BLOCK_NO_HOLE | BLOCK_FUA);
	assert_int_equal(
		ask_range(disk, &ring, BLOCK_ZERO, BLOCK_FAST_ZERO | BLOCK_NO_HOLE, 0, SIZE), -ENOTSUP);
	assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, BLOCK_FAST_ZERO, 0, SIZE), 0);
	memset(model, 0, SIZE);
	compare(disk, 0, SIZE);
	disk_free(disk);
	unlink(path);
}

/* What the disk does without writing has no limit; what would write for minutes is refused as a whole. */
static void long_requests(void **state)
{
	const uint64_t size = 1ull << 40;
	char path[256];
	struct disk *disk;

	(void)state;
	setenv("TMPDIR", "/dev/shm", 1);
	temporary_file(path, sizeof(path), size);
	disk = open_cache(path, "writeback");
	fill(disk);
	assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, BLOCK_NO_HOLE, 0, size), -EOVERFLOW);
	compare(disk, 0, SIZE);
	assert_int_equal(ask_range(disk, &ring, BLOCK_CACHE, 0, 0, size), 0);
	assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, BLOCK_FUA, 1, size - 1), 0);
	memset(model + 1, 0, SIZE - 1);
	compare(disk, 0, SIZE);
	fill(disk);
	assert_int_equal(ask_range(disk, &ring, BLOCK_TRIM, 0, 4096, size - 4096), 0);
	compare(disk, 0, 4096);
	disk_free(disk);
	unlink(path);
}

static void a_long_zero_on_a_device(void **state)
{
	struct disk *disk;

	(void)state;
	disk = open_cache(loop_disk_make("tmpfs", "mode=0700", "5G", ""), "writeback");
	fill(disk);
	assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, 0, 0, 5ull << 30), -EOVERFLOW);
	assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, BLOCK_FAST_ZERO, 0, 5ull << 30), -ENOTSUP);
	compare(disk, 0, SIZE);
	disk_free(disk);
	loop_disk_remove();
}

static int set_up(void **state)
{
	model = malloc(SIZE);
	found = malloc(SIZE);
	return ring_begin(state);
}

static int tear_down(void **state)
{
	free(model);
	free(found);
	return ring_end(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file),
		cmocka_unit_test(a_file_without_zero_range),
		cmocka_unit_test(a_device_with_holes),
		cmocka_unit_test(a_device_of_large_sectors),
		cmocka_unit_test(a_device_without_holes),
		cmocka_unit_test(a_fast_zero_on_such_a_device),
		cmocka_unit_test(long_requests),
		cmocka_unit_test(a_long_zero_on_a_device),
	};

	alarm(120); /* a lost completion hangs */
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
