/* Memory that is short is shared in turn, and comes back.
 * If this fails, large requests wait for ever, or the server takes more memory than it was given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache/uring.h"
#include "conf/container.h"
#include "server/budget.h"

static struct uring uring;
static struct budget budget;

struct claimant {
	struct claim claim;
	bool granted;
};

static void on_granted(struct mail *mail)
{
	container_of(mail, struct claimant, claim.granted)->granted = true;
}

static struct claimant claimant(void)
{
	return (struct claimant){ .claim = { .ring = &uring, .granted.read = on_granted } };
}

static bool take(struct claimant *one, size_t bytes)
{
	return budget_take(&budget, &one->claim, bytes);
}

static bool has(struct claimant *one)
{
	mailbox_drain(&uring.mailbox);
	return one->granted;
}

static int begin(void **state)
{
	(void)state;
	budget_init(&budget, 100);
	return uring_init(&uring);
}

static int end(void **state)
{
	(void)state;
	assert_int_equal(budget.free, 100);
	assert_false(budget_is_wanted(&budget));
	budget_fini(&budget);
	uring_fini(&uring);
	return 0;
}

static void what_is_there_is_had_at_once(void **state)
{
	struct claimant a = claimant(), b = claimant();

	(void)state;
	assert_true(take(&a, 60));
	assert_true(take(&b, 40));
	assert_false(budget_is_wanted(&budget));
	budget_give(&budget, 100);
}

static void a_large_claim_is_not_overtaken(void **state)
{
	struct claimant holder = claimant(), large = claimant(), small = claimant();

	(void)state;
	assert_true(take(&holder, 60));
	assert_false(take(&large, 100));
	assert_true(budget_is_wanted(&budget));
	assert_false(take(&small, 10));
	budget_give(&budget, 30);
	assert_false(has(&large) || has(&small));
	budget_give(&budget, 30);
	assert_true(has(&large));
	assert_false(has(&small));
	budget_give(&budget, 100);
	assert_true(has(&small));
	budget_give(&budget, 10);
}

static void who_goes_makes_room_for_those_behind(void **state)
{
	struct claimant holder = claimant(), large = claimant(), small = claimant(), last = claimant();

	(void)state;
	assert_true(take(&holder, 60));
	assert_false(take(&large, 100));
	assert_false(take(&small, 20));
	assert_false(take(&last, 90));
	assert_true(budget_withdraw(&budget, &large.claim));
	assert_true(has(&small));
	assert_false(has(&large) || has(&last));
	/* Too late: it has it. */
	assert_false(budget_withdraw(&budget, &small.claim));
	assert_true(budget_withdraw(&budget, &last.claim));
	budget_give(&budget, 80);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_there_is_had_at_once, begin, end),
		cmocka_unit_test_setup_teardown(a_large_claim_is_not_overtaken, begin, end),
		cmocka_unit_test_setup_teardown(who_goes_makes_room_for_those_behind, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
