/* server/inherited.h -- sockets that whoever started us has opened: systemd, inetd, or a client that runs its own server.
 * Spec: sd_listen_fds(3); inetd(8), "nowait".
 */
#pragma once

#include <stddef.h>

/* More than these are refused at the start. */
#define INHERITED_MAX 64

/* LISTEN_FDNAMES has up to 255 bytes a name. */
#define INHERITED_NAME_SIZE 256

struct inherited {
	unsigned count;
	struct {
		int fd; /* owned: close-on-exec; -1 once somebody has taken it */
		char name[INHERITED_NAME_SIZE];
	} sockets[INHERITED_MAX];
};

/* inherited_take() - what LISTEN_FDS tells that is meant for this process; none is no error. The variables are removed
 * from the environment. Returns 0, or -1 with @why: they are wrong. */
int inherited_take(struct inherited *out, char *why, size_t why_size);

/* Closes what nobody has taken. */
void inherited_close(struct inherited *inherited);

/* inherited_connection() - the one connection that this process was started for: that of systemd's Accept=yes, or else
 * standard input, which may be standard output, too. These are /dev/null from then on, so that the connection ends where
 * its last owner closes it and nothing else is written to it.
 * Returns a descriptor, the caller's, in blocking mode; or -1 with @why: it is no connected stream socket. */
int inherited_connection(struct inherited *inherited, char *why, size_t why_size);
