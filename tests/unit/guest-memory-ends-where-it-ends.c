/* Addresses of a guest or a VMM lead into the regions it shared and nowhere else, and a snapshot lives as long as its
 * last user.  If this fails, a guest reads or overwrites the daemon's own memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "virtio/guest_memory.h"

#define MIB (1ull << 20)

static int file_of(uint64_t size)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void put_byte(int fd, off_t at, char byte)
{
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static char byte_at(const struct guest_memory *memory, uint64_t address)
{
	uint64_t one = 1;
	const char *at = guest_memory_at(memory, address, &one);

	return at ? *at : '-';
}

static void an_address_is_found_up_to_the_last_byte(void **state)
{
	int fds[3] = { file_of(3 * MIB), file_of(2 * MIB), file_of(MIB) };
	const struct guest_region regions[] = {
		{ 16 * MIB, MIB, 700 * MIB, MIB },
		{ 4 * MIB, MIB, 900 * MIB, 4096 + 512 }, /* off any page, as an odd VMM might */
		{ 17 * MIB, MIB, 500 * MIB, 0 },
	};
	struct guest_memory *memory;
	const char *why;
	uint64_t length;
	char bytes[4];

	(void)state;
	put_byte(fds[0], MIB, 'a');
	put_byte(fds[0], 2 * MIB - 1, 'b');
	put_byte(fds[1], 4096 + 512, 'c');
	put_byte(fds[1], 4096 + 512 + MIB - 1, 'd');
	put_byte(fds[2], 0, 'e');
	assert_int_equal(guest_memory_new(regions, fds, 3, &memory, &why), 0);
	assert_int_equal(byte_at(memory, 16 * MIB), 'a');
	assert_int_equal(byte_at(memory, 17 * MIB - 1), 'b');
	assert_int_equal(byte_at(memory, 4 * MIB), 'c');
	assert_int_equal(byte_at(memory, 5 * MIB - 1), 'd');
	assert_int_equal(byte_at(memory, 17 * MIB), 'e');
	assert_int_equal(byte_at(memory, 4 * MIB - 1), '-');
	assert_int_equal(byte_at(memory, 5 * MIB), '-');
	assert_int_equal(byte_at(memory, 18 * MIB), '-');
	assert_int_equal(byte_at(memory, 0), '-');
	assert_int_equal(byte_at(memory, UINT64_MAX), '-');

	length = UINT64_MAX;
	assert_non_null(guest_memory_at(memory, 17 * MIB - 3, &length));
	assert_int_equal(length, 3);
	assert_int_equal(guest_memory_read(memory, 17 * MIB - 1, bytes, 2), 0);
	assert_memory_equal(bytes, "be", 2);
	assert_int_equal(guest_memory_read(memory, 18 * MIB - 1, bytes, 2), -EFAULT);

	assert_non_null(guest_memory_at_user(memory, 700 * MIB, MIB));
	assert_null(guest_memory_at_user(memory, 700 * MIB, MIB + 1));
	assert_null(guest_memory_at_user(memory, 700 * MIB + 1, UINT64_MAX));
	assert_null(guest_memory_at_user(memory, 700 * MIB - 1, 1));
	assert_null(guest_memory_at_user(memory, 701 * MIB, 1));
	assert_int_equal(*(char *)guest_memory_at_user(memory, 901 * MIB - 1, 1), 'd');
	guest_memory_put(memory);
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
}

static void a_region_that_cannot_be_is_refused(void **state)
{
	const struct guest_region first = { 16 * MIB, 2 * MIB, 700 * MIB, 0 };
	static const struct {
		struct guest_region region;
		const char *why;
	} cases[] = {
		{ { 0, 0, 0, 0 }, "a region of no bytes" },
		{ { UINT64_MAX - MIB + 2, MIB, 0, 0 }, "a region past the end of guest addresses" },
		{ { 0, MIB, UINT64_MAX - 1, 0 }, "a region past the end of user addresses" },
		{ { 0, MIB, 0, UINT64_MAX }, "a region past the end of any file" },
		{ { 0, MIB, 0, INT64_MAX - 1 }, "a region past the end of any file" },
		{ { 0, MIB, 0, MIB + 1 }, "a region is longer than its file" },
		{ { 0, INT64_MAX, 1ull << 40, 0 }, "regions overlap" },
		{ { 17 * MIB, MIB, 0, 0 }, "regions overlap" },
		{ { 16 * MIB - 1, 2, 0, 0 }, "regions overlap" },
		{ { 18 * MIB - 1, 2, 0, 0 }, "regions overlap" },
		{ { 0, MIB, 701 * MIB, 0 }, "regions overlap" },
		{ { 0, 4 * MIB, 0, 0 }, "a region is longer than its file" },
	};
	struct guest_memory *memory, *more = NULL;
	int fd = file_of(2 * MIB);
	const char *why;

	(void)state;
	assert_int_equal(guest_memory_new(&first, &fd, 1, &memory, &why), 0);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(guest_memory_with(memory, &cases[i].region, fd, &more, &why), -EINVAL);
		assert_string_equal(why, cases[i].why);
		assert_null(more);
	}
	guest_memory_put(memory);
	close(fd);
}

static void only_files_of_memory_are_mapped(void **state)
{
	const struct guest_region region = { 0, 4096, 0, 0 };
	struct guest_memory *memory;
	const char *why;
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(guest_memory_new(&region, &fd, 1, &memory, &why), -EINVAL);
	close(fd);
	assert_int_equal(guest_memory_new(&region, (int[]){ -1 }, 1, &memory, &why), -EBADF);
}

static void regions_come_and_go_below_those_who_stay(void **state)
{
	const struct guest_region low = { 0, MIB, 100 * MIB, 0 }, high = { MIB, MIB, 200 * MIB, 0 };
	struct guest_memory *one, *two, *three;
	int fd = file_of(MIB);
	const char *why;
	uint64_t length = 1;
	char *at;

	(void)state;
	assert_int_equal(guest_memory_with(NULL, &high, fd, &one, &why), 0);
	assert_int_equal(guest_memory_with(one, &low, fd, &two, &why), 0);
	at = guest_memory_at(one, MIB, &length);
	assert_ptr_equal(guest_memory_at(two, MIB, &length), at);
	assert_int_equal(guest_memory_without(two, &high, &three, &why), 0);
	assert_null(guest_memory_at(three, MIB, &length));
	assert_non_null(guest_memory_at(three, 0, &length));
	assert_int_equal(guest_memory_without(three, &high, &two, &why), -ENOENT);
	assert_int_equal(guest_memory_without(NULL, &high, &two, &why), -ENOENT);
	guest_memory_put(two);
	guest_memory_put(three);
	/* Its mapping is still there, the first snapshot holds it. */
	*at = 'x';
	assert_int_equal(byte_at(one, MIB), 'x');
	guest_memory_get(one);
	guest_memory_put(one);
	assert_int_equal(byte_at(one, MIB), 'x');
	guest_memory_put(one);
	close(fd);
}

static void regions_have_a_limit(void **state)
{
	struct guest_memory *memory = NULL, *more;
	int fd = file_of(4096);
	const char *why;

	(void)state;
	for (unsigned i = 0; i <= GUEST_REGIONS_MAX; i++) {
		const struct guest_region region = { i * 4096ull, 4096, i * 4096ull, 0 };
		int error = guest_memory_with(memory, &region, fd, &more, &why);

		assert_int_equal(error, i < GUEST_REGIONS_MAX ? 0 : -EINVAL);
		if (error)
			break;
		guest_memory_put(memory);
		memory = more;
	}
	guest_memory_put(memory);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_is_found_up_to_the_last_byte),
		cmocka_unit_test(a_region_that_cannot_be_is_refused),
		cmocka_unit_test(only_files_of_memory_are_mapped),
		cmocka_unit_test(regions_come_and_go_below_those_who_stay),
		cmocka_unit_test(regions_have_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
