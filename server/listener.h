/* server/listener.h -- one listening socket on the main thread. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "conf/address.h"
#include "conf/loop.h"

struct listener;

/* listener_open() - listen on @address and call @accepted for each client.
 * The socket file of a dead server is replaced; one of a living server, or another kind of file, is an error.
 * @accepted: takes over @fd, a socket in blocking mode with keepalive on and Nagle's algorithm off. @peer: who it is, for
 * the log: an address, or the process at the other end of a Unix socket; up to ADDRESS_TEXT_SIZE.
 * Returns NULL with the reason in @why. */
struct listener *listener_open(struct loop *loop, const struct address *address,
	void (*accepted)(void *owner, int fd, const char *peer), void *owner, char *why, size_t why_size);

/* Where it listens in truth: with the port that the kernel chose. */
const struct address *listener_address(const struct listener *listener);

/* Removes the socket file, if it is still ours. */
void listener_close(struct listener *listener);
