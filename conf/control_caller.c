/* conf/control_caller.c -- a blocking socket, a line out, a line in. */
#include "conf/control_caller.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/control_line.h"

static int fail(const char *path, int error, char *why)
{
	snprintf(why, CONTROL_WHY_SIZE, "%s: %s", path, strerror(error));
	return -1;
}

static int dial(const char *path, char *why)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd, error;

	if (!*path || strlen(path) >= sizeof(un.sun_path))
		return fail(path, ENAMETOOLONG, why);
	memcpy(un.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(path, errno, why);
	if (connect(fd, (const struct sockaddr *)&un, sizeof(un)) == 0)
		return fd;
	error = errno;
	close(fd);
	return fail(path, error, why);
}

/* A server that takes nothing more may have said why. */
static void send_line(int fd, const char *line, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t sent = send(fd, line + done, length - done, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return;
		done += (size_t)sent;
	}
}

/* Returns the line without its newline, the caller's to free(), or NULL: the connection has ended. */
static char *receive_line(int fd, size_t *length)
{
	size_t size = 64 << 10, got = 0;
	char *line = malloc(size), *newline = NULL;

	while (line && !newline) {
		ssize_t more = recv(fd, line + got, size - got, 0);

		if (more < 0 && errno == EINTR)
			continue;
		if (more <= 0)
			break;
		newline = memchr(line + got, '\n', (size_t)more);
		got += (size_t)more;
		if (got == size && !newline) {
			char *larger = size <= CONTROL_REPLY_MAX ? realloc(line, size *= 2) : NULL;

			if (!larger)
				break;
			line = larger;
		}
	}
	if (!newline) {
		free(line);
		return NULL;
	}
	*length = (size_t)(newline - line);
	return line;
}

static enum control_outcome take_reply(int fd, const char *path, json_t **result, char *why)
{
	size_t length = 0;
	char *line = receive_line(fd, &length);
	bool refused = false;

	if (!line) {
		snprintf(why, CONTROL_WHY_SIZE, "%s: the server has hung up", path);
		return CONTROL_UNREACHABLE;
	}
	*result = control_reply_parse(line, length, &refused, why);
	free(line);
	if (*result)
		return CONTROL_ANSWERED;
	return refused ? CONTROL_REFUSED : CONTROL_UNREACHABLE;
}

enum control_outcome control_ask(
	const char *path, const char *command, json_t *arguments, json_t **result, char *why)
{
	size_t length = 0;
	char *line = control_request_line(command, arguments, &length);
	enum control_outcome outcome = CONTROL_UNREACHABLE;
	int fd;

	if (!line) {
		fail(path, ENOMEM, why);
		return outcome;
	}
	fd = dial(path, why);
	if (fd >= 0) {
		send_line(fd, line, length);
		outcome = take_reply(fd, path, result, why);
		close(fd);
	}
	free(line);
	return outcome;
}
