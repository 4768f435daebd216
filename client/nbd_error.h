/* client/nbd_error.h -- the border between libnbd's errors and ours. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* errno_of_libnbd() - the status of a command whose completion told @error (0 or a positive errno).
 * What a server can say passes as it is, negated; anything else is -EIO: the guest could not tell them apart.
 * Spec: NBD proto.md, "Error values". */
int errno_of_libnbd(int error);

/* errno_of_nbd() - the status of a command to which a server has replied @error, as it stands in the reply. */
int errno_of_nbd(uint32_t error);

/* libnbd_lost_it() - whether @error says that the connection ended, not that the command failed: libnbd's ENOTCONN for
 * commands in flight on a handle that died, its EPROTO where what came is no answer (no server can say that), and a server's
 * ESHUTDOWN. Such a command is sent again elsewhere. */
bool libnbd_lost_it(int error);

/* libnbd_why() - what libnbd said last on this thread, for an operator: without the name of the function that failed,
 * and without @uri, which may hold a password. Returns @out. */
const char *libnbd_why(const char *uri, char *out, size_t out_size);
