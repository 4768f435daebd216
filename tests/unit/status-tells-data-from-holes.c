/* A file's status tells its holes from its data, after every completed write and zero, in every cache mode, and bytes
 * that nobody can tell of are data.  If this fails, a backup that skips holes leaves out what the guest wrote. */
#include "tests/unit/loop_disk.h"

enum { SIZE = 4 << 20, GRAIN = 65536, EXTENTS = 8 };
#define HOLE (BLOCK_EXTENT_HOLE | BLOCK_EXTENT_ZERO)

static char data[GRAIN];
static struct block_extent found[EXTENTS];
static unsigned found_count;

static int ask_status(struct disk *disk, unsigned flags, uint64_t offset, uint64_t length, unsigned max)
{
	struct asked asked = {
		.req = { .op = BLOCK_STATUS, .flags = flags, .offset = offset, .length = length }
	};
	int status;

	memset(found, 0xee, sizeof(found));
	asked.req.extents.list = found;
	asked.req.extents.max = max;
	asked.req.ring = &ring;
	asked.req.done = on_asked;
	status = disk_status(disk, &asked.req);
	if (status == DISK_PENDING) {
		ring.stopping = false;
		uring_run(&ring);
		status = asked.status;
	}
	found_count = asked.req.extents.count;
	return status;
}

static void expect(unsigned at, uint64_t length, uint64_t flags)
{
	assert_in_range(at, 0, found_count - 1);
	assert_int_equal(found[at].length, length);
	assert_int_equal(found[at].flags, flags);
}

static void write_grain(struct disk *disk, unsigned grain)
{
	assert_int_equal(ask_data(disk, &ring, BLOCK_WRITE, 0, (uint64_t)grain * GRAIN, data, GRAIN), 0);
}

/* Data in grains 1 and 3, then not in 1. */
static void follow_writes(struct disk *disk)
{
	assert_int_equal(ask_status(disk, 0, 0, SIZE, EXTENTS), 0);
	assert_int_equal(found_count, 1);
	expect(0, SIZE, HOLE);
	write_grain(disk, 1);
	write_grain(disk, 3);
	assert_int_equal(ask_status(disk, 0, 0, SIZE, EXTENTS), 0);
	assert_int_equal(found_count, 5);
	expect(0, GRAIN, HOLE);
	expect(1, GRAIN, 0);
	expect(2, GRAIN, HOLE);
	expect(3, GRAIN, 0);
	expect(4, SIZE - 4 * GRAIN, HOLE);
	assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, 0, GRAIN, GRAIN), 0);
	assert_int_equal(ask_status(disk, 0, 0, SIZE, EXTENTS), 0);
	assert_int_equal(found_count, 3);
	expect(0, 3 * GRAIN, HOLE);
	expect(1, GRAIN, 0);
}

static void every_mode(void **state)
{
	static const char *const modes[] = { "writeback", "writethrough", "none", "directsync", "unsafe" };

	(void)state;
	for (int i = 0; i < 5; i++) {
		char path[256];
		struct disk *disk;

		temporary_file(path, sizeof(path), SIZE);
		disk = open_cache(path, modes[i]);
		assert_true(disk->facts.can_status);
		follow_writes(disk);
		disk_free(disk);
	}
}

static struct disk *open_grains(char *path, size_t path_size, uint64_t size)
{
	struct disk *disk;

	temporary_file(path, path_size, size);
	disk = open_cache(path, "writeback");
	write_grain(disk, 1);
	write_grain(disk, 3);
	return disk;
}

static void limits_are_kept(void **state)
{
	char path[256];
	struct disk *disk = open_grains(path, sizeof(path), SIZE);

	(void)state;
	/* As many as there is room for. */
	assert_int_equal(ask_status(disk, 0, 0, SIZE, 2), 0);
	assert_int_equal(found_count, 2);
	assert_int_equal(found[2].length, 0xeeeeeeeeeeeeeeee);
	/* One, inside of what was asked about, or all of it. */
	assert_int_equal(ask_status(disk, BLOCK_ONE_EXTENT, 100, 1000, EXTENTS), 0);
	assert_int_equal(found_count, 1);
	expect(0, 1000, HOLE);
	assert_int_equal(ask_status(disk, BLOCK_ONE_EXTENT, GRAIN + 1, SIZE - GRAIN - 1, EXTENTS), 0);
	assert_int_equal(found_count, 1);
	expect(0, GRAIN - 1, 0);
	/* Only the last reaches further. */
	assert_int_equal(ask_status(disk, 0, GRAIN, GRAIN + 1, EXTENTS), 0);
	assert_int_equal(found_count, 2);
	expect(1, GRAIN, HOLE);
	disk_free(disk);
}

static void the_end_of_a_file(void **state)
{
	char path[256];
	struct disk *disk = open_grains(path, sizeof(path), SIZE - 777);

	(void)state;
	assert_int_equal(ask_status(disk, 0, SIZE - 1000, 223, EXTENTS), 0);
	expect(0, 223, HOLE);
	/* Somebody makes it longer: the disk ends where it did, until it is measured. */
	assert_int_equal(truncate(path, 2 * SIZE), 0);
	assert_int_equal(ask_status(disk, 0, SIZE - 1000, 1, EXTENTS), 0);
	expect(0, 223, HOLE);
	disk_measure(disk);
	assert_int_equal(ask_status(disk, 0, SIZE - 1000, 1, EXTENTS), 0);
	expect(0, SIZE + 1000, HOLE);
	/* Somebody cuts it: what is gone is not a hole. */
	assert_int_equal(truncate(path, 10 * GRAIN), 0);
	assert_int_equal(ask_status(disk, 0, 9 * GRAIN, 2 * GRAIN, EXTENTS), 0);
	assert_int_equal(found_count, 1);
	expect(0, GRAIN, HOLE);
	assert_int_equal(ask_status(disk, 0, 10 * GRAIN, GRAIN, EXTENTS), -EINVAL);
	disk_free(disk);
}

static void a_device_is_data(void **state)
{
	struct disk *disk;

	(void)state;
	disk = open_cache(loop_disk_make("tmpfs", "mode=0700", "4M", ""), "writeback");
	assert_false(disk->facts.can_status);
	assert_int_equal(ask_status(disk, 0, 4096, SIZE - 4096, EXTENTS), 0);
	assert_int_equal(found_count, 1);
	expect(0, SIZE - 4096, 0);
	disk_free(disk);
	loop_disk_remove();
}

static int set_up(void **state)
{
	memset(data, 'd', sizeof(data));
	return ring_begin(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_mode),
		cmocka_unit_test(limits_are_kept),
		cmocka_unit_test(the_end_of_a_file),
		cmocka_unit_test(a_device_is_data),
	};

	alarm(60); /* a lost completion hangs */
	return cmocka_run_group_tests(tests, set_up, ring_end);
}
