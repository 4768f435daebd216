/* server/inherited.c -- descriptors from the environment, checked before they are believed to be what they should. */
#include "server/inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "server/service_manager.h"
#include "server/socket_kind.h"

static void name_socket(struct inherited *out, unsigned i, const char *name)
{
	out->sockets[i].fd = SD_LISTEN_FDS_START + (int)i;
	snprintf(out->sockets[i].name, INHERITED_NAME_SIZE, "%s", name ? name : "unknown");
}

int inherited_take(struct inherited *out, char *why, size_t why_size)
{
	char **names = NULL;
	int count = service_sockets(&names);
	int status = 0;

	out->count = 0;
	if (count < 0) {
		snprintf(why, why_size, "LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES: %s", strerror(-count));
		return -1;
	}
	if (count > INHERITED_MAX) {
		snprintf(why, why_size, "LISTEN_FDS: %d sockets are more than %d", count, INHERITED_MAX);
		status = -1;
	}
	for (int i = 0; i < count; i++) {
		if (status == 0)
			name_socket(out, out->count++, names ? names[i] : NULL);
		if (names)
			free(names[i]);
	}
	free(names);
	return status;
}

void inherited_close(struct inherited *inherited)
{
	for (unsigned i = 0; i < inherited->count; i++)
		if (inherited->sockets[i].fd >= 0)
			close(inherited->sockets[i].fd);
	inherited->count = 0;
}

/* Moves standard input away, and /dev/null into its place and that of a standard output that is the same. */
static int take_standard_input(char *why, size_t why_size)
{
	int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0 || null < 0) {
		snprintf(why, why_size, "standard input: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
		if (null >= 0)
			close(null);
		return -1;
	}
	dup2(null, STDIN_FILENO);
	if (socket_is_connection(STDOUT_FILENO))
		dup2(null, STDOUT_FILENO);
	close(null);
	return fd;
}

int inherited_connection(struct inherited *inherited, char *why, size_t why_size)
{
	int fd = -1, flags;

	if (inherited->count > 1) {
		snprintf(why, why_size, "LISTEN_FDS: %u sockets, where one connection is served",
			inherited->count);
		return -1;
	}
	if (socket_is_connection(STDIN_FILENO)) {
		/* systemd hands the same one over twice with StandardInput=socket. */
		inherited_close(inherited);
		fd = take_standard_input(why, why_size);
	} else if (inherited->count == 1 && socket_is_connection(inherited->sockets[0].fd)) {
		fd = inherited->sockets[0].fd;
		inherited->count = 0;
	} else {
		snprintf(why, why_size, "standard input is not a connected stream socket");
		return -1;
	}
	flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
	if (flags >= 0)
		fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
	return fd;
}
