/* However many connections a client makes and spoils, the log gets a few lines a second and the number of the rest.
 * If this fails, anyone who reaches the port can fill the disk that holds the log. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "conf/log.h"
#include "server/close_reason.h"
#include "server/limits.h"

static int log_file = -1, saved = -1;

static int catch_log(void **state)
{
	char path[] = "/tmp/vnbd-log.XXXXXX";

	(void)state;
	log_file = mkstemp(path);
	unlink(path);
	saved = dup(STDERR_FILENO);
	dup2(log_file, STDERR_FILENO);
	log_open("test", LOG_WARNING);
	return 0;
}

static int release_log(void **state)
{
	(void)state;
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(log_file);
	return 0;
}

static unsigned logged(const char *words)
{
	static char text[1 << 16];
	ssize_t length = pread(log_file, text, sizeof(text) - 1, 0);
	unsigned count = 0;

	assert_true(length >= 0);
	text[length] = '\0';
	for (char *found = text; (found = strstr(found, words)); found++)
		count++;
	return count;
}

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

static void lines_are_bounded(void **state)
{
	uint64_t before = close_count(CLOSE_request_magic);
	time_t first = now();

	(void)state;
	for (int i = 0; i < 10000; i++)
		close_report(CLOSE_request_magic, "10.0.0.66:666");
	assert_int_equal(close_count(CLOSE_request_magic), before + 10000);
	assert_in_range(logged("10.0.0.66:666: a request without its magic number\n"), 1,
		CLOSE_LINES_PER_S * (unsigned)(now() - first + 1));
	while (now() == first)
		usleep(10000);
	close_report(CLOSE_request_magic, "10.0.0.66:667");
	assert_true(logged("more connections ended than this log tells") >= 1);
	assert_int_equal(logged("10.0.0.66:667"), 1);
}

static void quiet_reasons_are_counted(void **state)
{
	(void)state;
	close_report(CLOSE_disconnect, "10.0.0.1:1");
	assert_int_equal(close_count(CLOSE_disconnect), 1);
	assert_int_equal(logged("10.0.0.1:1"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(lines_are_bounded, catch_log, release_log),
		cmocka_unit_test_setup_teardown(quiet_reasons_are_counted, catch_log, release_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
