/* What is logged of an NBD URI has no user, no password, and of the parameters only the socket.
 * If this fails, secrets stand in the journal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "client/uri.h"

static const struct {
	const char *uri, *shown;
} uris[] = {
	{ "nbd://storage1/vm1", "nbd://storage1/vm1" },
	{ "nbd://[::1]:10810/", "nbd://[::1]:10810/" },
	{ "nbds://me:secret@storage1:1/vm1", "nbds://storage1:1/vm1" },
	{ "nbds://me:s@cret@storage1/a@b", "nbds://storage1/a@b" },
	{ "nbds://me@h/x?tls-psk-file=/secret", "nbds://h/x" },
	{ "nbds://h?tls-certificates=/secret&tls-verify-peer=1", "nbds://h" },
	{ "nbd+unix:///?socket=/run/x", "nbd+unix:///?socket=/run/x" },
	{ "nbds+unix://me@/e?tls-psk-file=/secret&socket=/run/x&y=secret", "nbds+unix:///e?socket=/run/x" },
	{ "nbd+unix:///e?socket=/run/x#secret", "nbd+unix:///e?socket=/run/x" },
	{ "nbd+unix:///e?xsocket=/secret", "nbd+unix:///e" },
	{ "host:10809", "host:10809" },
	{ "a?b://secret@", "a" },
	{ "://", "://" },
	{ "", "" },
};

static void each_uri(void **state)
{
	char shown[URI_SHOWN_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(uris) / sizeof(*uris); i++)
		assert_string_equal(uri_shown(uris[i].uri, shown), uris[i].shown);
}

static void a_long_uri_is_cut(void **state)
{
	char uri[1000], shown[URI_SHOWN_SIZE];

	(void)state;
	memset(uri, 'x', sizeof(uri));
	memcpy(uri, "nbd://a@", 8);
	uri[sizeof(uri) - 1] = '\0';
	uri_shown(uri, shown);
	assert_int_equal(strlen(shown), URI_SHOWN_SIZE - 1);
	assert_memory_equal(shown, "nbd://xxx", 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_uri),
		cmocka_unit_test(a_long_uri_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
