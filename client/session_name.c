/* client/session_name.c -- numbers drawn, and one that a successor finds again.
 *
 * Hosts that are copies of each other have the same machine-id, and containers of one host the same paths: what tells devices
 * apart is this boot, the filesystem, and the path in it. (Not the directory's inode: a service manager may make it anew.)
 */
#include "client/session_name.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/identity.h"

static uint64_t draw(void)
{
	struct timespec now;
	uint64_t drawn;

	if (getrandom(&drawn, sizeof(drawn), GRND_NONBLOCK) == sizeof(drawn) && drawn)
		return drawn;
	clock_gettime(CLOCK_REALTIME, &now);
	return identity_join((uint64_t)getpid(), (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

static uint64_t join_bytes(uint64_t joined, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		joined = identity_join(joined, (uint8_t)bytes[i]);
	return joined;
}

/* 0: the kernel does not tell. */
static uint64_t boot(void)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[64];
	ssize_t length = fd >= 0 ? read(fd, text, sizeof(text)) : -1;

	if (fd >= 0)
		close(fd);
	return length > 0 ? join_bytes(0, text, (size_t)length) : 0;
}

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
	number = join_bytes(found.st_dev, real, strlen(real));
	return join_bytes(identity_join(number, '/'), name, strlen(name));
}

void session_name_init(struct session_name *name, const char *place)
{
	uint64_t here = place ? place_number(place) : 0, now = boot();

	name->epoch = draw();
	name->identity = here && now ? identity_join(now, here) : draw();
}

void session_name_text(const struct session_name *name, unsigned link, char out[SESSION_NAME_SIZE])
{
	snprintf(out, SESSION_NAME_SIZE, "vnbd:session:%016" PRIx64 ":%016" PRIx64 ":%016x", name->identity,
		name->epoch, link);
}
