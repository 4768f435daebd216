/* server/verifier.c -- joins what must be the same. */
#include "server/verifier.h"

#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "cache/identity.h"

/* A number that nobody else draws. */
static uint64_t draw(void)
{
	struct timespec now;
	uint64_t drawn;

	if (getrandom(&drawn, sizeof(drawn), GRND_NONBLOCK) == sizeof(drawn))
		return drawn;
	clock_gettime(CLOCK_BOOTTIME, &now);
	return identity_join((uint64_t)getpid(), (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

/* Of this boot of the machine; of this process where the kernel does not tell. */
static uint64_t boot(void)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[64] = "";
	ssize_t length = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
	uint64_t joined = 0;

	if (fd >= 0)
		close(fd);
	if (length <= 0)
		return draw();
	for (ssize_t i = 0; i < length; i++)
		joined = identity_join(joined, (uint8_t)text[i]);
	return joined;
}

void verifier_init(struct verifier *verifier, const struct disk_facts *facts)
{
	verifier->lifetime = identity_join(boot(), facts->identity ? facts->identity : draw());
}

void verifier_renew(struct verifier *verifier)
{
	verifier->lifetime = identity_join(verifier->lifetime, draw());
}

uint64_t verifier_value(const struct verifier *verifier, struct disk *disk)
{
	return disk_has_lost(disk) ? identity_join(verifier->lifetime, 1) : verifier->lifetime;
}
