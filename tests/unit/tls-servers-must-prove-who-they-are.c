/* A URI with TLS by TCP is refused where libnbd would take any server's word for who it is.
 * If this fails, a folder's name spelt wrong lets anyone in the network's way read and change a guest's disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/trust.h"

static char folder[] = "/tmp/vnbd-test.XXXXXX";
static char why[TRUST_WHY_SIZE];

static void make(const char *below)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s%s", folder, below);
	if (!strstr(below, ".pem")) {
		assert_int_equal(mkdir(path, 0700), 0);
		return;
	}
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static int set_up(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(folder));
	make("/none");
	make("/c a");
	make("/c a/ca-cert.pem");
	return 0;
}

static int tear_down(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", folder);
	return system(command);
}

/* @form has %s for the folder. */
static int check(const char *form)
{
	char uri[512];

	snprintf(uri, sizeof(uri), form, folder, folder);
	return trust_check(uri, why);
}

static void a_certificate_or_key_is_enough(void **state)
{
	(void)state;
	assert_int_equal(check("nbds://h/x?tls-certificates=%s/c%%20a"), 0);
	assert_int_equal(check("nbds://h/x?tls-certificates=%s/c a#x"), 0);
	assert_int_equal(
		check("nbds://h/x?tls-certificates=%s/none&a=b;tls-certificates=%s/%%63%%20%%61"), 0);
	assert_int_equal(check("nbds://me@h/x?a&tls-psk-file=%s/no-matter"), 0);
}

static void nothing_to_hold_it_against_is_refused(void **state)
{
	(void)state;
	assert_int_equal(check("nbds://h/x?tls-certificates=%s/none"), -1);
	assert_non_null(strstr(why, "/none/ca-cert.pem: No such file or directory: nothing to hold"));
	assert_int_equal(check("nbds://h/x?tls-certificates=%s/c a&tls-certificates=%s/none"), -1);
	assert_int_equal(check("nbds://h/x?tls-certificates=%s/c%%2"), -1);
	assert_int_equal(check("nbds://h/x?tls-certificates="), -1);
	assert_int_equal(check("nbds://h/x#?tls-psk-file=x"), -1);
	assert_int_equal(check("nbds://h/x?xtls-psk-file=x"), -1);
	assert_int_equal(check("nbds://h/tls-psk-file=x"), -1);
	assert_int_equal(check("nbds://h"), -1);
	assert_string_equal(why,
		"nothing to hold the server's certificate against: the URI needs tls-certificates= or "
		"tls-psk-file=");
}

static void other_kinds_pass(void **state)
{
	(void)state;
	assert_int_equal(check("nbd://h/x"), 0);
	assert_int_equal(check("nbds+unix:///x?socket=/y"), 0);
	assert_int_equal(check(""), 0);
	assert_int_equal(check("h"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_certificate_or_key_is_enough),
		cmocka_unit_test(nothing_to_hold_it_against_is_refused),
		cmocka_unit_test(other_kinds_pass),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
