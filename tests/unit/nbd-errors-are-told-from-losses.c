/* What a server answers reaches the guest as it is; a connection that ends is no answer.
 * If this fails, a guest sees an I/O error because a server was restarted, or never sees that its disk is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>

#include "client/nbd_error.h"

static void an_answer_passes_as_it_is(void **state)
{
	static const int told[] = { EPERM, EIO, ENOMEM, EINVAL, ENOSPC, EOVERFLOW, ENOTSUP };

	(void)state;
	assert_int_equal(errno_of_libnbd(0), 0);
	for (size_t i = 0; i < sizeof(told) / sizeof(*told); i++) {
		assert_int_equal(errno_of_libnbd(told[i]), -told[i]);
		assert_false(libnbd_lost_it(told[i]));
	}
}

static void what_no_server_can_say_is_an_io_error(void **state)
{
	(void)state;
	assert_int_equal(errno_of_libnbd(EPIPE), -EIO);
	assert_int_equal(errno_of_libnbd(-1), -EIO);
	assert_int_equal(errno_of_libnbd(123456), -EIO);
}

static void the_end_of_a_connection_is_no_answer(void **state)
{
	(void)state;
	assert_true(libnbd_lost_it(ENOTCONN));
	assert_true(libnbd_lost_it(EPROTO));
	assert_true(libnbd_lost_it(ESHUTDOWN));
	assert_false(libnbd_lost_it(0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_passes_as_it_is),
		cmocka_unit_test(what_no_server_can_say_is_an_io_error),
		cmocka_unit_test(the_end_of_a_connection_is_no_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
