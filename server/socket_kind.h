/* server/socket_kind.h -- what a descriptor that we did not open is. */
#pragma once

#include <stdbool.h>

/* A stream socket of a family that is served, with a peer. */
bool socket_is_connection(int fd);

/* socket_listen_flaw() - what keeps @fd from being a socket to accept clients from: "is not a socket". NULL: nothing. */
const char *socket_listen_flaw(int fd);
