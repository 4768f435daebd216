/* server/verifier.c -- joins what must be the same, and keeps in mind what has lost writes.
 *
 * L1  What has lost writes is in losses, with its verifier from then on, before it can be opened again; or unnamed was
 *     raised. */
#include "server/verifier.h"

#include <fcntl.h>
#include <pthread.h>
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

struct loss {
	uint64_t identity, verifier;
};

/* Of this process. */
static struct {
	pthread_mutex_t lock;
	struct loss named[VERIFIER_LOSSES_MAX]; /* shared: under lock, as are all below */
	unsigned count;
	uint64_t unnamed; /* those for which there was no room */
} losses = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* With the lock held. Returns NULL where @identity has lost nothing. */
static struct loss *find_loss(uint64_t identity)
{
	for (unsigned i = 0; i < losses.count; i++)
		if (losses.named[i].identity == identity)
			return &losses.named[i];
	return NULL;
}

static void remember(uint64_t identity, uint64_t verifier)
{
	struct loss *loss;

	pthread_mutex_lock(&losses.lock);
	loss = find_loss(identity);
	if (!loss && losses.count < VERIFIER_LOSSES_MAX)
		loss = &losses.named[losses.count++];
	if (loss)
		*loss = (struct loss){ identity, verifier };
	else
		losses.unnamed++;
	pthread_mutex_unlock(&losses.lock);
}

/* Of what is opened now. */
static uint64_t lifetime_of(uint64_t identity)
{
	uint64_t lifetime = identity_join(boot(), identity);
	const struct loss *loss;

	pthread_mutex_lock(&losses.lock);
	loss = find_loss(identity);
	if (loss)
		lifetime = loss->verifier;
	else if (losses.unnamed > 0)
		lifetime = identity_join(lifetime, losses.unnamed);
	pthread_mutex_unlock(&losses.lock);
	return lifetime;
}

void verifier_init(struct verifier *verifier, const struct disk_facts *facts)
{
	verifier->lifetime = lifetime_of(facts->identity ? facts->identity : draw());
}

void verifier_close(const struct verifier *verifier, struct disk *disk)
{
	if (disk_has_lost(disk) && disk->facts.identity)
		remember(disk->facts.identity, verifier_value(verifier, disk)); /* L1 */
}

void verifier_renew(struct verifier *verifier)
{
	verifier->lifetime = identity_join(verifier->lifetime, draw());
}

uint64_t verifier_value(const struct verifier *verifier, struct disk *disk)
{
	return disk_has_lost(disk) ? identity_join(verifier->lifetime, 1) : verifier->lifetime;
}
