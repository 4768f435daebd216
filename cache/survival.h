/* cache/survival.h -- which of the writes that a simulated disk cache holds reach the disk when its power is cut, in which
 * order, and which of their sectors: drawn from a seed, so that the same seed and the same writes give the same disk.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/held.h"

enum survival_keep {
	SURVIVAL_NONE, /* no write reaches the disk */
	SURVIVAL_ALL,  /* every one does, in order of completion: as with a battery; torn, if wanted */
	SURVIVAL_RANDOM, /* each is kept or lost, or torn, alike; those that are kept reach the disk in any order */
};

struct survival_order {
	enum survival_keep keep;
	/* Bytes, a power of two; 0: no write is torn. A write of more than one such sector of the disk may reach it
	 * with some of them alone: half of those that are kept with SURVIVAL_ALL. A trim is never torn. */
	uint32_t sector;
	uint64_t seed;
};

/* Writes, zeroes and trims by what becomes of them. */
struct survival_counts {
	uint64_t kept, lost, torn;
};

/* What reaches the disk: bytes of one that is held. */
struct survivor {
	struct held *held;
	uint64_t offset, length; /* on the disk, bytes */
};

struct survival {
	struct survivor *survivors; /* owned; in the order in which they reach it */
	size_t count, room;
	struct survival_counts counts;
};

/* survival_draw() - what @order makes of @list. Returns 0, to be given to survival_fini(); or -ENOMEM, with nothing in @out. */
int survival_draw(const struct held_list *list, const struct survival_order *order, struct survival *out);
void survival_fini(struct survival *survival);
