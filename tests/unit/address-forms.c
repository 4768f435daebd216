/* What an operator writes behind --listen is understood or refused with a reason.
 * If this fails, a server listens elsewhere than it was told, or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "conf/address.h"

static const struct {
	const char *text;
	const char *uri; /* NULL: refused */
} forms[] = {
	{ "127.0.0.1:10809", "nbd://127.0.0.1:10809" },
	{ "127.0.0.1:0", "nbd://127.0.0.1:0" },
	{ "[::1]:10809", "nbd://[::1]:10809" },
	{ "unix:/run/vnbd.sock", "nbd+unix:///?socket=/run/vnbd.sock" },
	{ "unix:", NULL },
	{ "127.0.0.1", NULL },
	{ "127.0.0.1:", NULL },
	{ "127.0.0.1:65536", NULL },
	{ "127.0.0.1:123456", NULL },
	{ "127.0.0.1:nbd", NULL },
	{ "::1:10809", NULL },
	{ "./a:1", NULL },
	{ "", NULL },
	{ ":", NULL },
};

static void each_form(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		struct address found[ADDRESS_RESOLVED_MAX];
		char why[256] = "", uri[256];
		int count = address_resolve(forms[i].text, found, why, sizeof(why));

		if (!forms[i].uri) {
			assert_int_equal(count, -1);
			assert_true(strlen(why) > 0);
			continue;
		}
		assert_true(count > 0);
		assert_true(address_looks(forms[i].text));
		assert_string_equal(address_uri(&found[0], uri, sizeof(uri)), forms[i].uri);
	}
}

static void a_path_too_long_for_a_socket_is_refused(void **state)
{
	struct address found[ADDRESS_RESOLVED_MAX];
	char text[300], why[256];

	(void)state;
	memset(text, 'x', sizeof(text));
	memcpy(text, "unix:", 5);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(address_resolve(text, found, why, sizeof(why)), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_form),
		cmocka_unit_test(a_path_too_long_for_a_socket_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
