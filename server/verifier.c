/* server/verifier.c -- joins what must be the same, and keeps in mind what has lost writes.
 *
 * L1  What has lost writes is in losses, with its verifier from then on, before it can be opened again; or unnamed was
 *     raised. */
#include "server/verifier.h"

#include <pthread.h>
#include <string.h>

#include "cache/identity.h"

/* Of this boot of the machine; where the kernel does not tell, of this moment. */
static uint64_t boot(void)
{
	uint64_t told = identity_of_boot();

	return told ? told : identity_draw();
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
	verifier->lifetime = lifetime_of(facts->identity ? facts->identity : identity_draw());
}

void verifier_close(const struct verifier *verifier, struct disk *disk)
{
	if (disk_has_lost(disk) && disk->facts.identity)
		remember(disk->facts.identity, verifier_value(verifier, disk)); /* L1 */
}

void verifier_renew(struct verifier *verifier)
{
	verifier->lifetime = identity_join(verifier->lifetime, identity_draw());
}

uint64_t verifier_value(const struct verifier *verifier, struct disk *disk)
{
	return disk_has_lost(disk) ? identity_join(verifier->lifetime, 1) : verifier->lifetime;
}
