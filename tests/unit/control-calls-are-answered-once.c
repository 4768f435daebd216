/* A command may answer later, when its caller has hung up or the control is closed, and in any order.  If this fails, the server
 * writes into memory that is gone, or gives an operator the answer to another question. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/control.h"
#include "conf/control_line.h"

static struct loop loop;
static struct control *control;
static char folder[64], address[96];
static struct control_call *waiting[2 * CONTROL_CALLS_MAX];
static unsigned waiting_count;

static void later(void *context, struct control_call *call, const json_t *arguments)
{
	(void)context;
	(void)arguments;
	waiting[waiting_count++] = call;
}

static void close_us(void *context, struct control_call *call, const json_t *arguments)
{
	(void)context;
	(void)arguments;
	control_close(control);
	control = NULL;
	control_answer(call, NULL);
}

static void answer_long(void *context, struct control_call *call, const json_t *arguments)
{
	char *text = malloc(CONTROL_REPLY_MAX + 1);

	(void)context;
	(void)arguments;
	assert_non_null(text);
	memset(text, 'x', CONTROL_REPLY_MAX);
	text[CONTROL_REPLY_MAX] = '\0';
	control_answer(call, json_string(text));
	free(text);
}

static const struct control_command commands[] = {
	{ "later", "", "", later },
	{ "close", "", "", close_us },
	{ "long", "", "", answer_long },
	{ 0 },
};

static int open_control(void **state)
{
	char why[256];

	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/vnbd-control.XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(address, sizeof(address), "unix:%s/c", folder);
	waiting_count = 0;
	assert_int_equal(loop_init(&loop, false), 0);
	assert_int_equal(control_open(&loop, address, &control, why, sizeof(why)), 0);
	control_register(control, commands, NULL);
	return 0;
}

static int close_control(void **state)
{
	(void)state;
	control_close(control);
	control = NULL;
	loop_fini(&loop);
	return rmdir(folder);
}

static int dial(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/c", folder);
	assert_int_equal(connect(fd, (const struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

static void turn(void)
{
	for (int i = 0; i < 100; i++)
		ev_run(loop.ev, EVRUN_NOWAIT);
}

static void ask(int fd, const char *lines)
{
	assert_int_equal(send(fd, lines, strlen(lines), MSG_NOSIGNAL), strlen(lines));
	turn();
}

/* All that is there must be @expected; NULL: the connection has ended. */
static void expect(int fd, const char *expected)
{
	char got[4096];
	ssize_t length = recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT);

	if (!expected) {
		assert_int_equal(length, 0);
		return;
	}
	assert_true(length > 0);
	got[length] = '\0';
	assert_string_equal(got, expected);
}

static void answers_come_in_any_order(void **state)
{
	int fd = dial();

	(void)state;
	ask(fd, "{\"command\":\"later\",\"id\":1}\n{\"command\":\"later\",\"id\":2}\n");
	assert_int_equal(waiting_count, 2);
	control_answer(waiting[1], json_integer(22));
	turn();
	expect(fd, "{\"id\":2,\"ok\":true,\"result\":22}\n");
	control_refuse(waiting[0], "no %s", "\xff\n");
	turn();
	expect(fd, "{\"id\":1,\"ok\":false,\"error\":\"no \\\\xff\\\\x0a\"}\n");
	close(fd);
}

static void callers_may_be_gone(void **state)
{
	int fd = dial();

	(void)state;
	ask(fd, "{\"command\":\"later\"}\n{\"command\":\"later\"}\n");
	close(fd);
	turn();
	control_answer(waiting[0], json_array());
	turn();
	control_refuse(waiting[1], "gone");
	turn();
}

static void the_control_may_be_gone(void **state)
{
	int fd = dial();

	(void)state;
	ask(fd, "{\"command\":\"later\"}\n{\"command\":\"later\"}\n");
	control_close(control);
	control = NULL;
	expect(fd, NULL);
	control_answer(waiting[0], json_array());
	control_refuse(waiting[1], "gone");
	close(fd);
}

static void a_command_may_close_it(void **state)
{
	int fd = dial();

	(void)state;
	ask(fd, "{\"command\":\"close\"}\n{\"command\":\"later\"}\n");
	assert_int_equal(waiting_count, 0);
	expect(fd, NULL);
	close(fd);
}

static void too_long_an_answer_is_refused(void **state)
{
	int fd = dial();

	(void)state;
	ask(fd, "{\"command\":\"long\",\"id\":3}\n");
	expect(fd, "{\"id\":3,\"ok\":false,\"error\":\"the answer is too long, with those before it that "
		   "were not "
		   "read\"}\n");
	close(fd);
}

static void so_many_calls_and_no_more(void **state)
{
	int fd = dial();

	(void)state;
	for (unsigned i = 0; i < 2 * CONTROL_CALLS_MAX; i++)
		ask(fd, "{\"command\":\"later\"}\n");
	assert_int_equal(waiting_count, CONTROL_CALLS_MAX);
	control_answer(waiting[0], NULL);
	turn();
	expect(fd, "{\"id\":null,\"ok\":true,\"result\":{}}\n");
	assert_int_equal(waiting_count, CONTROL_CALLS_MAX + 1);
	for (unsigned i = 1; i < waiting_count; i++) {
		control_answer(waiting[i], NULL);
		turn();
	}
	assert_int_equal(waiting_count, 2 * CONTROL_CALLS_MAX);
	close(fd);
}

static void only_a_path_is_an_address(void **state)
{
	struct control *other;
	char why[256];

	(void)state;
	assert_int_equal(control_open(&loop, "127.0.0.1:1", &other, why, sizeof(why)), -1);
	assert_string_equal(why, "127.0.0.1:1: a control socket is unix:PATH");
	assert_int_equal(control_open(&loop, "unix:", &other, why, sizeof(why)), -1);
	assert_string_equal(why, "unix:: the path of a Unix socket has 1 to 107 bytes");
	assert_int_equal(control_open(&loop, address, &other, why, sizeof(why)), -1);
	assert_non_null(strstr(why, "another process listens there"));
	control_close(NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_control, close_control)
	const struct CMUnitTest tests[] = {
		TEST(answers_come_in_any_order),
		TEST(callers_may_be_gone),
		TEST(the_control_may_be_gone),
		TEST(a_command_may_close_it),
		TEST(too_long_an_answer_is_refused),
		TEST(so_many_calls_and_no_more),
		TEST(only_a_path_is_an_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
