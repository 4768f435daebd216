/* The NBD session goes from state to state only as its drawing says.
 * If this fails, a lost connection can be taken for a good one, and requests are lost with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "client/link_state.h"

static const struct {
	enum link_state from;
	enum link_event event;
	enum link_state to;
} drawn[] = {
	{ LINK_DOWN, LINK_DIAL, LINK_DIALLING },
	{ LINK_DIALLING, LINK_UP, LINK_REPLAYING },
	{ LINK_DIALLING, LINK_LOST, LINK_DOWN },
	{ LINK_REPLAYING, LINK_REPLAYED, LINK_READY },
	{ LINK_REPLAYING, LINK_LOST, LINK_DOWN },
	{ LINK_READY, LINK_LOST, LINK_DOWN },
	{ LINK_READY, LINK_RENEW, LINK_DRAINING },
	{ LINK_DRAINING, LINK_DRAINED, LINK_DOWN },
	{ LINK_DRAINING, LINK_KEPT, LINK_READY },
	{ LINK_DRAINING, LINK_LOST, LINK_DOWN },
};

#define DRAWN (sizeof(drawn) / sizeof(*drawn))

static int is_drawn(enum link_state from, enum link_event event)
{
	for (size_t i = 0; i < DRAWN; i++)
		if (drawn[i].from == from && drawn[i].event == event)
			return 1;
	return 0;
}

static void what_is_drawn_moves(void **state)
{
	(void)state;
	for (size_t i = 0; i < DRAWN; i++)
		assert_int_equal(link_move(drawn[i].from, drawn[i].event), drawn[i].to);
}

static void nothing_else_moves(void **state)
{
	(void)state;
	for (int from = 0; from < LINK_STATES; from++)
		for (int event = LINK_DIAL; event < LINK_EVENTS; event++)
			assert_int_equal(link_may_move(from, event), is_drawn(from, event));
}

static void every_state_has_a_name(void **state)
{
	(void)state;
	for (int from = 0; from < LINK_STATES; from++)
		assert_true(strlen(link_state_name(from)) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_drawn_moves),
		cmocka_unit_test(nothing_else_moves),
		cmocka_unit_test(every_state_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
