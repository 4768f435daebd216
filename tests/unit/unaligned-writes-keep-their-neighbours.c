/* Under O_DIRECT, writes and zeroes of any extent, from several threads at once, change their own bytes and no others;
 * reads find them; the file does not grow.  If this fails, two guests' sectors that share a block of the disk destroy
 * each other. */
#include "tests/unit/cells.h"

enum { ROUNDS = 2500 };

static void compare_file(const char *path, uint64_t size)
{
	char *found = malloc(size + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, found, size + 1, 0), size); /* it has not grown */
	for (int i = 0; i < CELLS; i++)
		assert_memory_equal(found + cells[i].start, cells[i].model, cells[i].length);
	close(fd);
	free(found);
}

static void hammer_mode(const char *mode, unsigned seed)
{
	uint64_t size = cut_cells(seed);
	struct disk *disk;
	char path[256];

	print_message("# %s, seed %u, %llu bytes\n", mode, seed, (unsigned long long)size);
	temporary_file(path, sizeof(path), size);
	disk = open_cache(path, mode);
	assert_int_equal(disk->facts.block_size_min, 1);
	assert_int_equal(disk->facts.size, size);
	hammer(disk, seed, ROUNDS);
	disk_free(disk);
	compare_file(path, size);
	unlink(path);
	drop_cells();
}

static void bypassing_the_page_cache(void **state)
{
	(void)state;
	hammer_mode("none", 1);
	hammer_mode("none", (unsigned)getpid());
}

static void stable_as_well(void **state)
{
	(void)state;
	hammer_mode("directsync", 2);
}

static void through_the_page_cache(void **state)
{
	(void)state;
	hammer_mode("writeback", 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bypassing_the_page_cache),
		cmocka_unit_test(stable_as_well),
		cmocka_unit_test(through_the_page_cache),
	};

	alarm(280); /* a lost completion hangs */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
