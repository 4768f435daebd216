/* server/listener.h -- one listening socket on the main thread. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "conf/address.h"
#include "conf/loop.h"
#include "server/peer.h"

struct listener;

/* listener_open() - listen on @address and call @accepted for each client.
 * The socket file of a dead server is replaced; one of a living server, or another kind of file, is an error.
 * @accepted: takes over @fd, a socket in blocking mode after peer_prepare().
 * Returns NULL with the reason in @why. */
struct listener *listener_open(struct loop *loop, const struct address *address,
	void (*accepted)(void *owner, int fd, const struct peer *peer), void *owner, char *why,
	size_t why_size);

/* listener_adopt() - the same for @fd, which somebody else has bound and listened on: it becomes the listener's, unless this
 * fails, and is put into nonblocking mode. The file of a Unix socket stays where it is. */
struct listener *listener_adopt(struct loop *loop, int fd,
	void (*accepted)(void *owner, int fd, const struct peer *peer), void *owner, char *why,
	size_t why_size);

/* Where it listens in truth: with the port that the kernel chose. */
const struct address *listener_address(const struct listener *listener);

/* Removes the socket file that listener_open() made, if it is still there. */
void listener_close(struct listener *listener);
