/* Workers that write, zero and read through one volatile cache at the same time, at any extent, with and without FUA, while
 * others flush and the oldest leave for want of room: each reads what it has written, and at the end the file has it.
 * If this fails, a power cut is blamed for what a race has mixed up. */
#include "tests/unit/cells.h"

#include "cache/volatile.h"

enum { ROUNDS = 1500 };

static void compare_file(const char *path, uint64_t size)
{
	char *found = malloc(size + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, found, size + 1, 0), size);
	for (int i = 0; i < CELLS; i++)
		assert_memory_equal(found + cells[i].start, cells[i].model, cells[i].length);
	close(fd);
	free(found);
}

struct flusher {
	struct disk *disk;
	atomic_bool stop;
	unsigned flushes, errors;
};

static void *flush_over_and_over(void *argument)
{
	struct flusher *flusher = argument;
	struct uring ring;

	flusher->errors += uring_init(&ring) != 0;
	while (!flusher->stop) {
		flusher->errors += ask_range(flusher->disk, &ring, BLOCK_FLUSH, 0, 0, 0) != 0;
		flusher->flushes++;
		usleep(1000);
	}
	uring_fini(&ring);
	return NULL;
}

static void hammer_over(const char *mode, uint64_t room, unsigned seed)
{
	uint64_t size = cut_cells(seed);
	struct flusher flusher = { 0 };
	pthread_t thread;
	char path[256];

	temporary_file(path, sizeof(path), size);
	assert_int_equal(volatile_open(open_cache(path, mode), room, &flusher.disk), 0);
	pthread_create(&thread, NULL, flush_over_and_over, &flusher);
	hammer(flusher.disk, seed, ROUNDS);
	flusher.stop = true;
	pthread_join(thread, NULL);
	assert_int_equal(flusher.errors, 0);
	print_message("# %s: %u flushes, %llu destaged\n", mode, flusher.flushes,
		(unsigned long long)volatile_count(flusher.disk).destaged);
	assert_true(volatile_count(flusher.disk).destaged > 100);
	disk_free(flusher.disk);
	compare_file(path, size);
	unlink(path);
	drop_cells();
}

static void with_little_room(void **state)
{
	(void)state;
	hammer_over("writeback", VOLATILE_BYTES_LEAST, 1);
}

static void with_enough_room(void **state)
{
	(void)state;
	hammer_over("writeback", 8 << 20, 2);
}

static void past_the_page_cache(void **state)
{
	(void)state;
	hammer_over("none", 1 << 20, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(with_little_room),
		cmocka_unit_test(with_enough_room),
		cmocka_unit_test(past_the_page_cache),
	};

	alarm(280); /* a lost completion hangs */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
