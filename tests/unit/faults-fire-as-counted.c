/* When a rule fires, and how long it delays, depend on counters, seeds and clocks alone.
 * If this fails, faults come at other moments than a test has asked for, or never again at the same. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "server/fault.h"
#include "server/fault_time.h"
#include "server/limits.h"

#define MS UINT64_C(1000000)

static struct fault_rule rule_of(const char *text)
{
	struct fault_rule rule;
	char why[1024];

	if (fault_rule_parse(text, FAULT_ON_REQUESTS | FAULT_ON_CLIENTS, &rule, why, sizeof(why)))
		fail_msg("%s: %s", text, why);
	return rule;
}

static const struct fault_event sector = { .operation = FAULT_ON_read, .length = 512, .peer = "a test" };

/* 'X' where it fires and has an effect. */
static void expect(const char *text, const char *pattern)
{
	struct fault_rule rule = rule_of(text);
	struct fault_history history = { 0 };
	struct fault_random random;

	for (const char *at = pattern; *at; at++) {
		bool fires = fault_when(&rule, &history, &sector, &random);

		if (fires != (*at == 'X'))
			fail_msg("%s: request %td", text, at - pattern);
		history.fired += fires;
	}
	assert_int_equal(history.matched, strlen(pattern));
	fault_rule_fini(&rule);
}

static void counters(void **state)
{
	(void)state;
	expect("read: hold", "XXX");
	expect("read every 1: hold", "XXX");
	expect("read every 3: hold", "..X..X..X");
	expect("read every 3 once: hold", "..X......");
	expect("read after 2: hold", "..XXX");
	expect("read after 2 every 2: hold", "...X.X");
	expect("read after 1 times 2: hold", ".XX..");
	expect("read p 1: hold", "XXXX");
}

/* What fired but had no effect may fire again. */
static void without_effect(void **state)
{
	struct fault_rule rule = rule_of("read once: hold");
	struct fault_history history = { 0 };
	struct fault_random random;

	(void)state;
	assert_true(fault_when(&rule, &history, &sector, &random));
	assert_true(fault_when(&rule, &history, &sector, &random));
	history.fired++;
	assert_false(fault_when(&rule, &history, &sector, &random));
	fault_rule_fini(&rule);
}

static void time_begins_when_the_rule_does(void **state)
{
	struct fault_rule rule = rule_of("read after 5ms every 2: hold");
	struct fault_history history = { .added_ns = 100 * MS };
	struct fault_event event = sector;
	struct fault_random random;

	(void)state;
	event.now_ns = 105 * MS - 1;
	assert_false(fault_when(&rule, &history, &event, &random));
	assert_int_equal(history.matched, 0);
	event.now_ns = 105 * MS;
	assert_false(fault_when(&rule, &history, &event, &random));
	assert_true(fault_when(&rule, &history, &event, &random));
	fault_rule_fini(&rule);
}

static void chances(void **state)
{
	struct fault_rule rule = rule_of("read p 0.1 seed 3: hold");
	struct fault_history history = { 0 };
	struct fault_random random;
	unsigned fired = 0;

	(void)state;
	for (unsigned i = 0; i < 100000; i++)
		fired += fault_when(&rule, &history, &sector, &random);
	assert_in_range(fired, 9600, 10400);
	fault_rule_fini(&rule);
}

static void numbers_are_the_same_everywhere(void **state)
{
	(void)state;
	assert_true(fault_random((struct fault_random){ 7, 1 }, 0) == 0xcbda1088daa8e5b8);
	assert_true(fault_random((struct fault_random){ 0, 3 }, 8) == 0x4f647338158fc9ce);
	assert_true(fault_random((struct fault_random){ 7, 1 }, 0) !=
		    fault_random((struct fault_random){ 7, 1 }, 1));
	assert_true(fault_random((struct fault_random){ 7, 1 }, 0) !=
		    fault_random((struct fault_random){ 7, 2 }, 0));
	assert_true(fault_random((struct fault_random){ 7, 1 }, 0) !=
		    fault_random((struct fault_random){ 8, 1 }, 0));
	for (unsigned i = 0; i < 10000; i++) {
		double part = fault_random_part((struct fault_random){ 1, i }, 0);

		assert_true(part > 0 && part <= 1);
		assert_true(fault_random_below((struct fault_random){ 1, i }, 1, 3) < 3);
	}
}

/* Mean, standard deviation and least of many delays, in milliseconds. */
static void sample(const char *text, double *mean, double *deviation, double *least)
{
	enum { COUNT = 20000 };
	struct fault_rule rule = rule_of(text);
	struct fault_bucket bucket = { 0 };
	double sum = 0, squares = 0;

	*least = INFINITY;
	for (unsigned i = 0; i < COUNT; i++) {
		double ms = (double)fault_time(&rule, &bucket, &sector, (struct fault_random){ 5, i }) /
			    (double)MS;

		sum += ms;
		squares += ms * ms;
		*least = ms < *least ? ms : *least;
	}
	*mean = sum / COUNT;
	*deviation = sqrt(squares / COUNT - *mean * *mean);
	fault_rule_fini(&rule);
}

static void assert_near(double expected, double got)
{
	if (fabs(got - expected) > 0.03 * expected)
		fail_msg("expected about %g, got %g", expected, got);
}

static void distributions(void **state)
{
	double mean, deviation, least;

	(void)state;
	sample("read: delay 20ms", &mean, &deviation, &least);
	assert_near(20, mean);
	assert_near(20, least);
	sample("read: delay uniform 10ms 30ms", &mean, &deviation, &least);
	assert_near(20, mean);
	assert_near(20 / sqrt(12), deviation);
	assert_near(10, least);
	sample("read: delay normal 20ms 5ms", &mean, &deviation, &least);
	assert_near(20, mean);
	assert_near(5, deviation);
	sample("read: delay pareto 10ms 3", &mean, &deviation, &least);
	assert_near(15, mean); /* shape / (shape - 1) of the least */
	assert_near(10, least);
}

static void the_longest_tail_ends(void **state)
{
	struct fault_rule rule = rule_of("read: delay pareto 1h 0.000000001");
	struct fault_bucket bucket = { 0 };

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		assert_in_range(fault_time(&rule, &bucket, &sector, (struct fault_random){ 0, i }), 1,
			UINT64_C(1000000000) * FAULT_TIME_MAX_S);
	fault_rule_fini(&rule);
}

/* Milliseconds that requests of @length wait that come all at once. */
static void expect_waits(const char *text, uint64_t length, const unsigned *ms, unsigned count)
{
	struct fault_rule rule = rule_of(text);
	struct fault_bucket bucket = { 0 };
	struct fault_event event = sector;

	event.now_ns = 1000 * MS;
	event.length = length;
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(
			fault_time(&rule, &bucket, &event, (struct fault_random){ 0, 0 }), ms[i] * MS);
	/* Who comes later finds it free. */
	event.now_ns = 100000 * MS;
	assert_int_equal(fault_time(&rule, &bucket, &event, (struct fault_random){ 0, 0 }), 0);
	fault_rule_fini(&rule);
}

static void buckets(void **state)
{
	static const unsigned each_ten[] = { 0, 10, 20, 30 }, each_fifty[] = { 0, 50, 100 };

	(void)state;
	expect_waits("read: rate 100", 1 << 20, each_ten, 4);
	expect_waits("read: bandwidth 10000", 500, each_fifty, 3);
}

static void places(void **state)
{
	static const struct disk_facts facts = { .size = 1 << 20, .block_size_min = 1 };
	const struct block_req block = { .op = BLOCK_READ, .length = 512 };
	struct fault_verdict verdict;
	struct fault_set set;
	char why[1024];
	unsigned ids[6];

	(void)state;
	fault_set_init(&set, "e");
	assert_false(fault_set_is_armed(&set));
	ids[0] = (unsigned)fault_set_add(&set, "read once: delay 1ms", why, sizeof(why));
	ids[1] = (unsigned)fault_set_add(&set, "read: delay 2ms", why, sizeof(why));
	ids[2] = (unsigned)fault_set_add(&set, "read once: error EIO", why, sizeof(why));
	ids[3] = (unsigned)fault_set_add(&set, "read once: error ENOSPC", why, sizeof(why));
	ids[4] = (unsigned)fault_set_add(&set, "read: hold", why, sizeof(why));
	assert_true(fault_set_is_armed(&set));
	assert_true(fault_set_judge(&set, &sector, &facts, &block, &verdict));
	assert_int_equal(verdict.delay_ns, 3 * MS);
	assert_int_equal(verdict.delay_id, ids[0]);
	assert_int_equal(verdict.data.arguments[0], 5); /* EIO; the other is still to come */
	assert_int_equal(verdict.reply.action, FAULT_DO_hold);
	assert_true(fault_set_holds(&set, ids[4], verdict.ticket));
	assert_true(fault_set_release(&set, ids[4]));
	assert_false(fault_set_holds(&set, ids[4], verdict.ticket));
	assert_true(fault_set_judge(&set, &sector, &facts, &block, &verdict));
	assert_int_equal(verdict.delay_ns, 2 * MS);
	assert_int_equal(verdict.data.id, ids[3]);
	assert_true(fault_set_holds(&set, ids[4], verdict.ticket));
	assert_true(fault_set_remove(&set, ids[4]));
	assert_false(fault_set_remove(&set, ids[4]));
	assert_false(fault_set_holds(&set, ids[4], verdict.ticket));
	ids[5] = (unsigned)fault_set_add(&set, "read: double", why, sizeof(why));
	assert_true(ids[5] > ids[4]);
	assert_int_equal(fault_set_clear(&set), 5);
	assert_false(fault_set_is_armed(&set));
	assert_true(fault_set_add(&set, "accept: close", why, sizeof(why)) < 0);
	fault_set_fini(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters),
		cmocka_unit_test(without_effect),
		cmocka_unit_test(time_begins_when_the_rule_does),
		cmocka_unit_test(chances),
		cmocka_unit_test(numbers_are_the_same_everywhere),
		cmocka_unit_test(distributions),
		cmocka_unit_test(the_longest_tail_ends),
		cmocka_unit_test(buckets),
		cmocka_unit_test(places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
