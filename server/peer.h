/* server/peer.h -- who is at the other end of a connection. */
#pragma once

#include <sys/types.h>

#include "conf/address.h"

struct peer {
	struct address address; /* length 0: not known */
	uid_t uid;		/* of the process, over a Unix socket */
	/* For the log: address_text(), or the process at the other end of a Unix socket. */
	char text[ADDRESS_TEXT_SIZE];
};

/* @fd: a connected socket. */
void peer_of(int fd, struct peer *out);

/* peer_prepare() - a TCP client that is gone without a word is found out (KEEPALIVE_*), small replies leave at once, and one on
 * this host is sent no more than it takes soon (conf/send_queue.h). */
void peer_prepare(int fd, const struct peer *peer);
