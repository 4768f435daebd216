/* client/session_name.c -- numbers drawn, and one that a successor finds again.
 *
 * Hosts that are copies of each other have the same machine-id, and containers of one host the same paths: what tells devices
 * apart is this boot, the filesystem, and the path in it. (Not the directory's inode: a service manager may make it anew.)
 */
#include "client/session_name.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cache/identity.h"

/* 0: there is no such directory. */
static uint64_t place_number(const char *place)
{
	const char *slash = strrchr(place, '/');
	const char *name = slash ? slash + 1 : place;
	char folder[PATH_MAX], real[PATH_MAX];
	struct stat found;
	uint64_t number;

	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(name - place) : 1, slash ? place : ".");
	if (!realpath(folder, real) || stat(real, &found))
		return 0;
	number = identity_join_bytes(found.st_dev, real, strlen(real));
	return identity_join_bytes(identity_join(number, '/'), name, strlen(name));
}

void session_name_init(struct session_name *name, const char *place)
{
	uint64_t here = place ? place_number(place) : 0, now = identity_of_boot();

	name->epoch = identity_draw();
	name->identity = here && now ? identity_join(now, here) : identity_draw();
}

void session_name_text(const struct session_name *name, unsigned link, char out[SESSION_NAME_SIZE])
{
	snprintf(out, SESSION_NAME_SIZE, "vnbd:session:%016" PRIx64 ":%016" PRIx64 ":%016x", name->identity,
		name->epoch, link);
}
