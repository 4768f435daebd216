/* client/session_name.h -- whose connections these are, for a server that knows vnbd:session: (docs/vnbd-namespace.md).
 *
 * Such a server lets a connection in when nothing of the one before, which we have given up, can reach the disk any more: a
 * stalled old write does not undo a newer one. Others ignore it.
 */
#pragma once

#include <stdint.h>

struct session_name {
	uint64_t identity; /* the same in every life of a device, on this host, since it was booted */
	uint64_t epoch;	   /* of this life; nobody else draws it */
};

/* Room for the name of a metadata context. */
#define SESSION_NAME_SIZE sizeof("vnbd:session:0123456789abcdef:0123456789abcdef:0123456789abcdef")

/* session_name_init() - @place: where the device is offered, such that there is one of it at a time: a socket's path, or a name that
 * the kernel has once; NULL: nowhere that a successor could be known by. */
void session_name_init(struct session_name *name, const char *place);

/* session_name_text() - for connection number @link of this life. */
void session_name_text(const struct session_name *name, unsigned link, char out[SESSION_NAME_SIZE]);
