/* Memory that nobody tells beforehand: a source is asked about an address that is not known yet, once, whichever thread
 * names it first.  If this fails, a disk of the host's own kernel reads and writes the wrong memory, or none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conf/container.h"
#include "virtio/guest_memory.h"

enum { PAGE = 4096, RANGES = 16, THREADS = 4 };

#define FIRST 0x100000u /* the ranges lie one behind the other from here on, two pages each */

struct test_source {
	struct guest_memory_source source;
	int fd;
	unsigned asked; /* by one thread at a time, says the contract */
	bool liar;	/* every answer is the first range */
	char *bytes;	/* the same memory, mapped by us */
};

static int find(struct guest_memory_source *source, uint64_t guest_address, struct guest_region *region)
{
	struct test_source *test = container_of(source, struct test_source, source);
	uint64_t range = (guest_address - FIRST) / (2 * PAGE);

	test->asked++;
	if (guest_address < FIRST || range >= RANGES)
		return -EFAULT;
	if (test->liar)
		range = 0;
	*region = (struct guest_region){
		.guest_address = FIRST + range * 2 * PAGE,
		.user_address = FIRST + range * 2 * PAGE,
		.size = 2 * PAGE,
		.mmap_offset = range * 2 * PAGE,
	};
	return dup(test->fd);
}

static int begin(void **state)
{
	static struct test_source test;

	test = (struct test_source){ .source.find = find, .fd = memfd_create("ranges", MFD_CLOEXEC) };
	assert_return_code(ftruncate(test.fd, RANGES * 2 * PAGE), errno);
	test.bytes = mmap(NULL, RANGES * 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, test.fd, 0);
	assert_ptr_not_equal(test.bytes, MAP_FAILED);
	*state = &test;
	return 0;
}

static int end(void **state)
{
	struct test_source *test = *state;

	munmap(test->bytes, RANGES * 2 * PAGE);
	close(test->fd);
	return 0;
}

static void asks_once_for_each_range(void **state)
{
	struct test_source *test = *state;
	struct guest_memory *memory = guest_memory_from(&test->source);
	uint64_t length = 3 * PAGE;
	char *at = guest_memory_at(memory, FIRST + PAGE, &length);

	assert_non_null(at);
	assert_int_equal(length, PAGE);
	strcpy(test->bytes + PAGE, "shared");
	assert_string_equal(at, "shared");
	length = 1;
	assert_ptr_equal(guest_memory_at(memory, FIRST, &length), at - PAGE);
	assert_int_equal(test->asked, 1);
	guest_memory_put(memory);
}

static void reads_across_ranges(void **state)
{
	struct test_source *test = *state;
	struct guest_memory *memory = guest_memory_from(&test->source);
	char copy[8];

	memcpy(test->bytes + 2 * PAGE - 4, "together", 8);
	assert_int_equal(guest_memory_read(memory, FIRST + 2 * PAGE - 4, copy, 8), 0);
	assert_memory_equal(copy, "together", 8);
	assert_int_equal(test->asked, 2);
	guest_memory_put(memory);
}

static void finds_ring_parts(void **state)
{
	struct test_source *test = *state;
	struct guest_memory *memory = guest_memory_from(&test->source);

	assert_non_null(guest_memory_at_user(memory, FIRST + 4 * PAGE, 2 * PAGE));
	assert_null(guest_memory_at_user(memory, FIRST + 4 * PAGE, 2 * PAGE + 1));
	assert_int_equal(test->asked, 1);
	guest_memory_put(memory);
}

static void what_is_not_there_is_not_found(void **state)
{
	struct test_source *test = *state;
	struct guest_memory *memory = guest_memory_from(&test->source);
	uint64_t length = 1;

	assert_null(guest_memory_at(memory, FIRST - 1, &length));
	assert_null(guest_memory_at(memory, FIRST + RANGES * 2 * PAGE, &length));
	assert_null(guest_memory_at_user(memory, UINT64_MAX, 1));
	/* It may be there the next time. */
	assert_int_equal(test->asked, 3);
	guest_memory_put(memory);
}

static void a_range_that_overlaps_is_not_taken(void **state)
{
	struct test_source *test = *state;
	struct guest_memory *memory = guest_memory_from(&test->source);
	uint64_t length = 1;

	test->liar = true;
	assert_null(guest_memory_at(memory, FIRST + 4 * PAGE, &length));
	length = 1;
	assert_non_null(guest_memory_at(memory, FIRST, &length));
	guest_memory_put(memory);
}

static void *name_all(void *arg)
{
	const struct guest_memory *memory = arg;
	char **found = calloc(RANGES, sizeof(*found));

	for (unsigned turn = 0; turn < 8 * RANGES; turn++) {
		unsigned range = (turn * 7) % RANGES;
		uint64_t length = 1;
		char *at = guest_memory_at(memory, FIRST + range * 2 * PAGE, &length);

		if (!at || (found[range] && found[range] != at))
			abort();
		found[range] = at;
	}
	return found;
}

static void threads_find_the_same(void **state)
{
	struct test_source *test = *state;
	struct guest_memory *memory = guest_memory_from(&test->source);
	pthread_t threads[THREADS];
	char **found[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, name_all, memory), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], (void **)&found[i]);
	for (unsigned i = 1; i < THREADS; i++)
		assert_memory_equal(found[i], found[0], RANGES * sizeof(*found[0]));
	for (unsigned i = 0; i < THREADS; i++)
		free(found[i]);
	assert_int_equal(test->asked, RANGES);
	guest_memory_put(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(asks_once_for_each_range, begin, end),
		cmocka_unit_test_setup_teardown(reads_across_ranges, begin, end),
		cmocka_unit_test_setup_teardown(finds_ring_parts, begin, end),
		cmocka_unit_test_setup_teardown(what_is_not_there_is_not_found, begin, end),
		cmocka_unit_test_setup_teardown(a_range_that_overlaps_is_not_taken, begin, end),
		cmocka_unit_test_setup_teardown(threads_find_the_same, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
