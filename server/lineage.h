/* server/lineage.h -- connections of one client that follow each other.
 *
 * A client that dials again sends again what was in flight, and goes on. What its lost connection has left here, on the disk or
 * in a socket that we have not read, must not reach the disk after that: it would undo something newer. So a client says in its
 * handshake whose connection this is, and it is served when those that it follows are gone (server/succession.h).
 * docs/vnbd-namespace.md, "vnbd:session:".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lineage {
	uint64_t identity; /* of the client, through all its lives; 0: the client has not told */
	uint64_t epoch;	   /* of one life */
	uint64_t link;	   /* of those connections that a life has side by side, which this one is */
};

/* lineage_parse() - @text: what follows NBD_CONTEXT_SESSION in a query.
 * Returns false, and leaves @out, where it is none. */
bool lineage_parse(const char *text, size_t length, struct lineage *out);

/* lineage_follows() - whether a connection of @later comes in the place of one of @earlier: the same of the same life, or any
 * of another life of the same client. */
bool lineage_follows(const struct lineage *later, const struct lineage *earlier);
