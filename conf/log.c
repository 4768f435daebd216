/* conf/log.c -- one line a message, one write a line. */
#include "conf/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *program_name = "vnbd";
static enum log_level most_shown = LOG_INFO;

static _Thread_local const char *thread_name;

static const char *const level_words[LOG_LEVELS] = {
	[LOG_ERROR] = "error: ",
	[LOG_WARNING] = "warning: ",
	[LOG_INFO] = "",
	[LOG_DEBUG] = "debug: ",
};

void log_open(const char *program, enum log_level most)
{
	program_name = program;
	most_shown = most;
}

void log_name_thread(const char *name)
{
	thread_name = name;
}

const char *log_thread_name(void)
{
	return thread_name;
}

int log_shows(enum log_level level)
{
	return level <= most_shown;
}

/* Who reads it. Shared by all threads: between the look and the write no other may take the room that is there. */
static struct {
	pthread_mutex_t lock;
	bool stalled;	 /* the last line found no room */
	unsigned unsaid; /* lines that found none */
} reader = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Whether a write of one line will not wait. What is not there to be waited for, such as a closed pipe, will not. */
static bool has_room(void)
{
	struct pollfd out = { .fd = STDERR_FILENO, .events = POLLOUT };
	int ready;

	do
		ready = poll(&out, 1, reader.stalled ? 0 : LOG_WAIT_MS);
	while (ready < 0 && errno == EINTR);
	return ready != 0;
}

static void put(const char *line, size_t length)
{
	/* Nobody is left to tell that the log cannot be written. */
	if (write(STDERR_FILENO, line, length) < 0)
		return;
}

static void tell_unsaid(void)
{
	char line[128];

	put(line, (size_t)snprintf(line, sizeof(line),
			  "%s: warning: %u lines are missing here: nobody read the log\n", program_name,
			  reader.unsaid));
	reader.unsaid = 0;
}

static void put_line(const char *line, size_t length)
{
	pthread_mutex_lock(&reader.lock);
	reader.stalled = !has_room();
	if (!reader.stalled && reader.unsaid) {
		tell_unsaid();
		reader.stalled = !has_room();
	}
	if (reader.stalled)
		reader.unsaid++;
	else
		put(line, length);
	pthread_mutex_unlock(&reader.lock);
}

void log_line(enum log_level level, const char *format, ...)
{
	char line[LOG_LINE_MAX];
	size_t length;
	va_list args;

	if (!log_shows(level))
		return;
	length = (size_t)snprintf(line, sizeof(line), "%s: %s%s%s", program_name, level_words[level],
		thread_name ? thread_name : "", thread_name ? ": " : "");
	va_start(args, format);
	length += (size_t)vsnprintf(line + length, sizeof(line) - length, format, args);
	va_end(args);
	if (length > sizeof(line) - 1)
		length = sizeof(line) - 1;
	line[length++] = '\n';
	put_line(line, length);
}

const char *log_quote(char *out, size_t out_size, const char *bytes, size_t length)
{
	static const char more[] = "...";
	size_t used = 0;

	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)bytes[i];
		int plain = c >= 0x20 && c < 0x7f && c != '\\';
		size_t wants = plain ? 1 : 4;

		if (used + wants + sizeof(more) > out_size) {
			memcpy(out + used, more, sizeof(more));
			return out;
		}
		if (plain)
			out[used] = (char)c;
		else
			snprintf(out + used, 5, "\\x%02x", c);
		used += wants;
	}
	out[used] = '\0';
	return out;
}
