/* Bytes of a peer reach the log only as printable text of bounded length.
 * If this fails, a client can forge log lines or drive the operator's terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "conf/log.h"

static void quotes(void **state)
{
	char out[64];

	(void)state;
	assert_string_equal(log_quote(out, sizeof(out), "disk-1", 6), "disk-1");
	assert_string_equal(log_quote(out, sizeof(out), "a\nb\x1b", 4), "a\\x0ab\\x1b");
	assert_string_equal(log_quote(out, sizeof(out), "\\", 1), "\\x5c");
	assert_string_equal(log_quote(out, sizeof(out), "\xff\0", 2), "\\xff\\x00");
	assert_string_equal(log_quote(out, sizeof(out), "", 0), "");
}

static void cuts_what_is_too_long(void **state)
{
	char out[16], bytes[100];

	(void)state;
	memset(bytes, 'x', sizeof(bytes));
	for (size_t size = 4; size <= sizeof(out); size++) {
		log_quote(out, size, bytes, sizeof(bytes));
		assert_true(strlen(out) < size);
		assert_string_equal(out + strlen(out) - 3, "...");
	}
	assert_string_equal(log_quote(out, 8, "\n\n\n", 3), "\\x0a...");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quotes),
		cmocka_unit_test(cuts_what_is_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
