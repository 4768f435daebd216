/* client/stripe.c -- the least busy connection gets the next request. */
#include "client/stripe.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "conf/container.h"

struct stripe {
	struct disk disk;
	unsigned count;
	struct link *links[STRIPE_LINKS_MAX]; /* owned */
};

static struct stripe *stripe_of(struct disk *disk)
{
	return container_of(disk, struct stripe, disk);
}

/* What is given to one that is down waits until it is back, however idle the others are. */
static bool is_better(const struct link *link, const struct link *than)
{
	if (link_is_ready(link) != link_is_ready(than))
		return link_is_ready(link);
	return link_load(link) < link_load(than);
}

static struct link *choose(const struct stripe *stripe)
{
	struct link *best = stripe->links[0];

	for (unsigned i = 1; i < stripe->count; i++)
		if (is_better(stripe->links[i], best))
			best = stripe->links[i];
	return best;
}

static int stripe_submit(struct disk *disk, struct block_req *req)
{
	return disk_submit(link_disk(choose(stripe_of(disk))), req);
}

static bool stripe_recall(struct disk *disk, struct block_req *req)
{
	struct stripe *stripe = stripe_of(disk);

	for (unsigned i = 0; i < stripe->count; i++)
		if (disk_recall(link_disk(stripe->links[i]), req))
			return true;
	return false;
}

static void stripe_free(struct disk *disk)
{
	struct stripe *stripe = stripe_of(disk);

	for (unsigned i = 0; i < stripe->count; i++)
		link_free(stripe->links[i]);
	free(stripe);
}

static const struct disk_ops stripe_ops = {
	.submit = stripe_submit, .recall = stripe_recall, .free = stripe_free
};

int stripe_new(struct link *const *links, unsigned count, const struct disk_facts *facts, struct disk **out)
{
	struct stripe *stripe = calloc(1, sizeof(*stripe));

	assert(count >= 1 && count <= STRIPE_LINKS_MAX);
	if (!stripe)
		return -ENOMEM;
	stripe->disk.ops = &stripe_ops;
	stripe->disk.facts = *facts;
	stripe->count = count;
	for (unsigned i = 0; i < count; i++)
		stripe->links[i] = links[i];
	*out = &stripe->disk;
	return 0;
}
