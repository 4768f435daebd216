/* Any bytes from a controller, in two pieces: every line gets one reply that is JSON, and nothing is left behind. */
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/control.h"
#include "conf/control_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In flight at a time: as many as one connection may have. */
static struct control_call *waiting[CONTROL_CALLS_MAX];
static unsigned waiting_count;

struct everything {
	const char *text;
	uint64_t number;
	double seconds;
	bool flag;
};

static const struct control_argument rows[] = {
	{ "text", CONTROL_TEXT, true, offsetof(struct everything, text) },
	{ "number", CONTROL_NUMBER, false, offsetof(struct everything, number) },
	{ "seconds", CONTROL_SECONDS, false, offsetof(struct everything, seconds) },
	{ "flag", CONTROL_FLAG, false, offsetof(struct everything, flag) },
	{ 0 },
};

static void echo(void *context, struct control_call *call, const json_t *arguments)
{
	struct everything all = { 0 };

	(void)context;
	if (!control_take(call, arguments, rows, &all))
		return;
	if (!all.text || all.seconds < 0)
		abort();
	control_answer(call, json_pack("{sssIsfsb}", "text", all.text, "number", (json_int_t)all.number,
				     "seconds", all.seconds, "flag", (int)all.flag));
}

static void later(void *context, struct control_call *call, const json_t *arguments)
{
	(void)context;
	(void)arguments;
	if (waiting_count == CONTROL_CALLS_MAX)
		abort();
	waiting[waiting_count++] = call;
}

static const struct control_command commands[] = {
	{ "echo", "", "", echo },
	{ "later", "", "", later },
	{ 0 },
};

static struct loop loop;
static struct control *control;
static char path[64];

static void close_all(void)
{
	control_close(control);
	loop_fini(&loop);
}

static void begin(void)
{
	char address[80], why[256];

	snprintf(path, sizeof(path), "/tmp/fuzz-control.%d", (int)getpid());
	snprintf(address, sizeof(address), "unix:%s", path);
	if (loop_init(&loop, false) || control_open(&loop, address, &control, why, sizeof(why)))
		abort();
	control_register(control, commands, NULL);
	atexit(close_all);
}

static int dial(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(un.sun_path, path, strlen(path) + 1);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&un, sizeof(un)))
		abort();
	return fd;
}

static void check_line(const char *line, size_t length)
{
	char why[CONTROL_WHY_SIZE];
	json_t *reply = json_loadb(line, length, 0, NULL);
	bool refused;
	json_t *result = control_reply_parse(line, length, &refused, why);

	if (!reply || json_object_size(reply) != 3 || (!result && !refused))
		abort();
	json_decref(result);
	json_decref(reply);
}

/* Returns whether the connection has ended; replies are in @got. */
static bool receive(int fd, char **got, size_t *length)
{
	*got = realloc(*got, *length + (64 << 10));
	for (;;) {
		ssize_t more = recv(fd, *got + *length, 64 << 10, MSG_DONTWAIT);

		if (more <= 0)
			return more == 0;
		*length += (size_t)more;
		*got = realloc(*got, *length + (64 << 10));
	}
}

static void turn(int fd, char **got, size_t *length)
{
	bool ended = false;

	for (int i = 0; i < 1000000 && !ended; i++) {
		ev_run(loop.ev, EVRUN_NOWAIT);
		while (waiting_count > 0)
			control_refuse(waiting[--waiting_count], "%s", "later");
		ended = receive(fd, got, length);
	}
	if (!ended)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t length = 0, first = size > 0 ? data[0] % size : 0, lines = 0, replies = 0;
	char *got = NULL;
	int fd;

	if (!control)
		begin();
	/* What fits into a socket, so that sending does not wait for us. */
	if (size > 60000)
		return 0;
	fd = dial();
	if (first > 0 && send(fd, data, first, MSG_NOSIGNAL) < 0)
		abort();
	ev_run(loop.ev, EVRUN_NOWAIT);
	ev_run(loop.ev, EVRUN_NOWAIT);
	if (size > first && send(fd, data + first, size - first, MSG_NOSIGNAL) < 0)
		abort();
	shutdown(fd, SHUT_WR);
	turn(fd, &got, &length);
	close(fd);
	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	for (char *line = got, *end; (end = memchr(line, '\n', (size_t)(got + length - line)));
		line = end + 1) {
		check_line(line, (size_t)(end - line));
		replies++;
	}
	if (lines != replies)
		abort();
	free(got);
	return 0;
}
