/* Several threads that write parts of the same blocks of a new overlay, each for the first time, keep their own bytes, each
 * other's and the base's; after a kill, too.  If this fails, what one connection wrote is undone by the copy of the
 * base's block that another one's write needed. */
#include "tests/unit/cells.h"

#include "cache/disk_overlay.h"

enum { OVERLAYS = 12, ROUNDS = 250 };

static void write_models(const char *path)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	for (int i = 0; i < CELLS; i++) {
		memset(cells[i].model, 0x40 + i % 100, cells[i].length);
		assert_int_equal(pwrite(fd, cells[i].model, cells[i].length, (off_t)cells[i].start),
			(ssize_t)cells[i].length);
	}
	close(fd);
}

static void compare(struct disk *disk, uint64_t size)
{
	char *found = malloc(size);
	struct uring ring;

	assert_int_equal(uring_init(&ring), 0);
	assert_int_equal(ask_data(disk, &ring, BLOCK_READ, 0, 0, found, size), 0);
	for (int i = 0; i < CELLS; i++)
		assert_memory_equal(found + cells[i].start, cells[i].model, cells[i].length);
	uring_fini(&ring);
	free(found);
}

static struct disk *open_overlay(const char *base, const char *overlay)
{
	struct disk *disk = NULL;
	char why[512] = "";

	if (overlay_open(base, overlay, &disk, why, sizeof(why)) != 0)
		fail_msg("%s", why);
	return disk;
}

/* As the page cache has it now. */
static void copy_file(const char *from, const char *to)
{
	char command[600];

	snprintf(command, sizeof(command), "cp --sparse=always %s %s", from, to);
	assert_int_equal(system(command), 0); /* NOLINT: of our own temporary paths */
}

static void one_overlay(unsigned seed, bool kept)
{
	uint64_t size = cut_cells(seed);
	char base[256], path[256], copy[256];
	struct disk *disk, *again;

	temporary_file(base, sizeof(base), size);
	temporary_file(path, sizeof(path), 0);
	temporary_file(copy, sizeof(copy), 0);
	unlink(path);
	write_models(base);
	disk = open_overlay(base, kept ? path : NULL);
	hammer(disk, seed, ROUNDS);
	compare(disk, size);
	if (kept) {
		copy_file(path, copy);
		again = open_overlay(base, copy);
		compare(again, size);
		disk_free(again);
	}
	disk_free(disk);
	remove_temporary_files();
	drop_cells();
}

static void kept_ones(void **state)
{
	(void)state;
	for (unsigned i = 0; i < OVERLAYS; i++)
		one_overlay(100 + i, true);
}

static void temporary_ones(void **state)
{
	(void)state;
	for (unsigned i = 0; i < OVERLAYS; i++)
		one_overlay((unsigned)getpid() + i, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kept_ones),
		cmocka_unit_test(temporary_ones),
	};

	alarm(280); /* a lost completion hangs */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
