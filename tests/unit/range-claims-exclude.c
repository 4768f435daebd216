/* Claims on ranges exclude each other as promised, in order of arrival, on any number of threads.  If this fails, a
 * read-modify-write under O_DIRECT undoes a neighbour's acknowledged write, or an export hangs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <cmocka.h>

#include "cache/range_lock.h"
#include "conf/container.h"

struct claim {
	struct range range;
	atomic_bool granted;
};

static void on_granted(struct range *range)
{
	atomic_store(&container_of(range, struct claim, range)->granted, true);
}

static bool claim(
	struct range_lock *lock, struct claim *new, uint64_t start, uint64_t end, enum range_kind kind)
{
	new->range = (struct range){ .start = start, .end = end, .kind = kind };
	atomic_store(&new->granted, false);
	return range_claim(lock, &new->range);
}

static void who_waits(void **state)
{
	struct range_lock lock;
	struct claim a, b, c, d, e;

	(void)state;
	range_lock_init(&lock, on_granted);
	assert_true(claim(&lock, &a, 0, 10, RANGE_SHARED));
	assert_true(claim(&lock, &b, 5, 15, RANGE_SHARED));
	assert_false(claim(&lock, &c, 9, 20, RANGE_EXCLUSIVE)); /* behind a and b */
	assert_true(claim(&lock, &d, 20, 30, RANGE_EXCLUSIVE)); /* touches c, does not overlap */
	assert_false(claim(&lock, &e, 19, 20, RANGE_SHARED));	/* behind c, which has not begun */
	range_release(&lock, &a.range);
	assert_false(c.granted);
	range_release(&lock, &b.range);
	assert_true(c.granted);
	assert_false(e.granted);
	range_release(&lock, &d.range);
	assert_false(e.granted);
	range_release(&lock, &c.range);
	assert_true(e.granted);
	range_release(&lock, &e.range);
	range_lock_fini(&lock);
}

static void nobody_starves(void **state)
{
	struct range_lock lock;
	struct claim first, writer, later[10];

	(void)state;
	range_lock_init(&lock, on_granted);
	assert_true(claim(&lock, &first, 0, 10, RANGE_SHARED));
	assert_false(claim(&lock, &writer, 0, 10, RANGE_EXCLUSIVE));
	for (int i = 0; i < 10; i++)
		assert_false(claim(&lock, &later[i], 0, 10, RANGE_SHARED));
	range_release(&lock, &first.range);
	assert_true(writer.granted);
	range_release(&lock, &writer.range);
	for (int i = 0; i < 10; i++) {
		assert_true(later[i].granted);
		range_release(&lock, &later[i].range);
	}
	range_lock_fini(&lock);
}

enum { THREADS = 4, ROUNDS = 20000, CELLS = 24, EXCLUSIVE = 1000 };

static struct range_lock shared_lock;
static atomic_int holders[CELLS]; /* a shared holder counts 1, an exclusive one EXCLUSIVE */
static atomic_uint violations;

static void *hammer(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t start = (uint64_t)rand_r(&seed) % CELLS;
		uint64_t end = start + 1 + (uint64_t)rand_r(&seed) % (CELLS - start);
		enum range_kind kind = rand_r(&seed) % 3 ? RANGE_SHARED : RANGE_EXCLUSIVE;
		int weight = kind == RANGE_EXCLUSIVE ? EXCLUSIVE : 1;
		struct claim mine;

		if (!claim(&shared_lock, &mine, start, end, kind))
			while (!atomic_load(&mine.granted))
				sched_yield();
		for (uint64_t i = start; i < end; i++) {
			int before = atomic_fetch_add(&holders[i], weight);

			if (before >= EXCLUSIVE || (kind == RANGE_EXCLUSIVE && before > 0))
				atomic_fetch_add(&violations, 1);
		}
		for (uint64_t i = start; i < end; i++)
			atomic_fetch_sub(&holders[i], weight);
		range_release(&shared_lock, &mine.range);
	}
	return NULL;
}

static void many_threads(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	range_lock_init(&shared_lock, on_granted);
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, hammer, (void *)(i + 1));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(violations, 0);
	range_lock_fini(&shared_lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_waits),
		cmocka_unit_test(nobody_starves),
		cmocka_unit_test(many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
