/* A file's disk does what was asked, to the byte: in every mode, with data in pieces, past 4 GiB, where the kernel does
 * only a part at a time, and where the file is shorter than it was.  If this fails, a guest reads what it never wrote. */
#include "tests/unit/disks.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { SIZE = 1 << 20 };

static char path[256];
static struct uring ring;
static char *data, *back;

static struct disk *open_fresh(const char *mode, uint64_t size)
{
	temporary_file(path, sizeof(path), size);
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (char)(i * 7 + i / 4096 + 1);
	return open_cache(path, mode);
}

static void close_file(struct disk *disk)
{
	disk_free(disk);
	unlink(path);
}

static uint64_t allocated_bytes(void)
{
	struct stat found;

	assert_int_equal(stat(path, &found), 0);
	return (uint64_t)found.st_blocks * 512;
}

static void expect(struct disk *disk, uint64_t offset, const char *expected, size_t length)
{
	memset(back, 0xee, length);
	assert_int_equal(ask_data(disk, &ring, BLOCK_READ, 0, offset, back, length), 0);
	assert_memory_equal(back, expected, length);
}

static void write_all(struct disk *disk, unsigned flags)
{
	assert_int_equal(ask_data(disk, &ring, BLOCK_WRITE, flags, 0, data, SIZE), 0);
}

static void each_mode(void **state)
{
	(void)state;
	for (int mode = 0; mode < CACHE_MODES; mode++) {
		struct disk *disk = open_fresh(cache_mode_name((enum cache_mode)mode), SIZE);

		write_all(disk, 0);
		memset(data + 4096, 0x55, 8192);
		assert_int_equal(ask_data(disk, &ring, BLOCK_WRITE, BLOCK_FUA, 4096, data + 4096, 8192), 0);
		assert_int_equal(ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0), 0);
		assert_int_equal(ask_range(disk, &ring, BLOCK_CACHE, 0, 0, SIZE), 0);
		memset(data + 16384, 0, 65536);
		assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, BLOCK_FUA, 16384, 65536), 0);
		assert_int_equal(ask_range(disk, &ring, BLOCK_TRIM, BLOCK_FUA, SIZE - 8192, 8192), 0);
		expect(disk, 0, data, SIZE - 8192);
		close_file(disk);
	}
}

static void facts_of_a_mode(void **state)
{
	struct disk *disk;

	(void)state;
	for (int mode = 0; mode < CACHE_MODES; mode++) {
		const char *name = cache_mode_name((enum cache_mode)mode);
		bool stable = strcmp(name, "writethrough") == 0 || strcmp(name, "directsync") == 0;

		assert_int_equal(cache_mode_named(name), mode);
		disk = open_fresh(name, 12345);
		assert_int_equal(disk->facts.volatile_cache, !stable);
		assert_int_equal(disk->facts.size, 12345);
		assert_int_equal(disk->facts.block_size_min, 1);
		assert_in_range(disk->facts.block_size_preferred, 4096, 32 << 20);
		assert_true(disk->facts.can_multi_conn && disk->facts.can_fua && disk->facts.can_flush);
		close_file(disk);
	}
	assert_int_equal(cache_mode_named("writeBack"), -EINVAL);
}

static void in_pieces(void **state)
{
	struct disk *disk = open_fresh("writeback", SIZE);
	struct iovec pieces[] = { { data, 1 }, { data + 1, 4095 }, { data + 4096, 70000 },
		{ data + 74096, 3 } };
	struct iovec places[] = { { back, 4096 }, { back + 4096, 13 }, { back + 4109, 70003 - 13 } };
	struct asked wrote = {
		.req = { .op = BLOCK_WRITE, .offset = 5, .length = 74099, .iov = pieces, .iov_count = 4 }
	};
	struct asked read = {
		.req = { .op = BLOCK_READ, .offset = 5, .length = 74099, .iov = places, .iov_count = 3 }
	};

	(void)state;
	assert_int_equal(ask(disk, &ring, &wrote), 0);
	assert_int_equal(ask(disk, &ring, &read), 0);
	assert_memory_equal(back, data, 74099);
	close_file(disk);
}

/* RLIMIT_FSIZE makes the kernel write a part, and refuse the rest when it is asked again. */
static void the_rest_of_a_partial_write(void **state)
{
	const struct rlimit limit = { .rlim_cur = 16384 + 100, .rlim_max = RLIM_INFINITY };
	const struct rlimit none = { .rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY };
	struct disk *disk = open_fresh("writeback", SIZE);

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	assert_int_equal(ask_data(disk, &ring, BLOCK_WRITE, 0, 0, data, 32768), -EFBIG);
	assert_int_equal(ask_data(disk, &ring, BLOCK_WRITE, BLOCK_FUA, 1, data + 1, 32767), -EFBIG);
	setrlimit(RLIMIT_FSIZE, &none);
	expect(disk, 0, data, 16384 + 100);
	close_file(disk);
}

static void a_file_cut_short(void **state)
{
	static const char *const modes[] = { "writeback", "none" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct disk *disk = open_fresh(modes[i], SIZE);

		write_all(disk, 0);
		assert_int_equal(truncate(path, 8192), 0);
		assert_int_equal(ask_data(disk, &ring, BLOCK_READ, 0, 4096, back, 8192), -EINVAL);
		assert_int_equal(ask_data(disk, &ring, BLOCK_READ, 0, 65536, back, 4096), -EINVAL);
		assert_int_equal(ask_data(disk, &ring, BLOCK_READ, 0, 4096, back, 4096), 0);
		close_file(disk);
	}
}

static void holes(void **state)
{
	struct disk *disk = open_fresh("writeback", SIZE);
	uint64_t full;

	(void)state;
	write_all(disk, BLOCK_FUA);
	full = allocated_bytes();
	memset(data + 65536 + 100, 0, 300000);
	assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, BLOCK_NO_HOLE, 65536 + 100, 300000), 0);
	assert_true(allocated_bytes() >= full);
	expect(disk, 0, data, SIZE);
	assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, BLOCK_FAST_ZERO, 65536 + 100, 300000), 0);
	assert_true(allocated_bytes() < full);
	expect(disk, 0, data, SIZE);
	full = allocated_bytes();
	assert_int_equal(ask_range(disk, &ring, BLOCK_TRIM, 0, 524288, 262144), 0);
	assert_true(allocated_bytes() < full);
	close_file(disk);
}

static void beyond_4_gib(void **state)
{
	const uint64_t far = 7ull << 30;
	struct disk *disk = open_fresh("writeback", far + SIZE);

	(void)state;
	assert_int_equal(ask_data(disk, &ring, BLOCK_WRITE, 0, far, data, SIZE), 0);
	assert_int_equal(ask_data(disk, &ring, BLOCK_WRITE, 0, 1 << 20, data, SIZE), 0);
	expect(disk, far, data, SIZE);
	assert_int_equal(ask_range(disk, &ring, BLOCK_CACHE, 0, 0, 0xffffffff), 0);
	assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, 0, 1, 0xffffffff), 0);
	expect(disk, far, data, SIZE);
	memset(data, 0, SIZE);
	expect(disk, 1 << 20, data, SIZE);
	assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, BLOCK_FAST_ZERO, 0, far + SIZE), 0);
	expect(disk, far, data, SIZE);
	close_file(disk);
}

static void what_cannot_be_opened(void **state)
{
	static const struct {
		const char *path;
		int expected;
	} rows[] = { { "/nonexistent/disk", -ENOENT }, { "/dev/null", -EINVAL }, { "/", -EINVAL } };
	struct disk *disk = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char why[256] = "";

		assert_int_equal(cache_open(rows[i].path, CACHE_writeback, false, &disk, why, sizeof(why)),
			rows[i].expected);
		assert_non_null(strstr(why, rows[i].path));
	}
	assert_null(disk);
}

static void readonly(void **state)
{
	char why[256] = "";
	struct disk *disk = open_fresh("writeback", SIZE);

	(void)state;
	write_all(disk, 0);
	disk_free(disk);
	for (int mode = 0; mode < CACHE_MODES; mode++) {
		assert_int_equal(cache_open(path, (enum cache_mode)mode, true, &disk, why, sizeof(why)), 0);
		assert_true(disk->facts.readonly);
		assert_false(disk->facts.volatile_cache);
		expect(disk, 1, data + 1, SIZE - 1);
		assert_int_equal(ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0), 0);
		disk_free(disk);
	}
	unlink(path);
}

static int set_up(void **state)
{
	(void)state;
	data = malloc(SIZE);
	back = malloc(SIZE);
	return uring_init(&ring);
}

static int tear_down(void **state)
{
	(void)state;
	uring_fini(&ring);
	free(data);
	free(back);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_mode),
		cmocka_unit_test(facts_of_a_mode),
		cmocka_unit_test(in_pieces),
		cmocka_unit_test(the_rest_of_a_partial_write),
		cmocka_unit_test(a_file_cut_short),
		cmocka_unit_test(holes),
		cmocka_unit_test(beyond_4_gib),
		cmocka_unit_test(what_cannot_be_opened),
		cmocka_unit_test(readonly),
	};

	alarm(120); /* a lost completion hangs */
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
