/* tests/unit/packed_driver.h -- the driver's side of one packed ring, in the memory of split_driver.h: the descriptors
 * where a split ring's are, the driver's events in the place of its available ring, the device's in that of its used
 * ring. */
#pragma once

#include <stdbool.h>

#include "split_driver.h"

enum { EVENTS_ENABLED = 0, EVENTS_DISABLED = 1, EVENTS_AT = 2 };
enum { PACKED_AVAIL = 1 << 7, PACKED_USED = 1 << 15 };

#define PACKED_START 0x80008000u

struct packed_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};

struct packed_event {
	uint16_t place, flags;
};

struct packed_driver {
	struct packed_desc *desc;
	struct packed_event *mine, *device;
	uint16_t size, next_avail, next_used;
	bool avail_wrap, used_wrap;
	bool described; /* the first descriptor of a chain not yet offered */
};

/* @base: as vring_setup.base. */
static inline void packed_init(struct packed_driver *packed, struct driver *driver, uint32_t base)
{
	*packed = (struct packed_driver){
		.desc = (void *)(driver->bytes + AT_DESC),
		.mine = (void *)(driver->bytes + AT_AVAIL),
		.device = (void *)(driver->bytes + AT_USED),
		.size = driver->size,
		.next_avail = base & 0x7fff,
		.avail_wrap = base & 0x8000,
		.next_used = base >> 16 & 0x7fff,
		.used_wrap = base >> 31,
	};
}

static inline uint16_t packed_flags(const struct packed_driver *packed, unsigned flags)
{
	return (uint16_t)(flags | (packed->avail_wrap ? PACKED_AVAIL : PACKED_USED));
}

/* Writes the next descriptor of a chain; the first one not yet as available. Returns its place. */
static inline uint16_t packed_describe(
	struct packed_driver *packed, uint64_t at, uint32_t len, unsigned flags, uint16_t id)
{
	uint16_t place = packed->next_avail;
	struct packed_desc *desc = &packed->desc[place];

	desc->addr = DRIVER_GUEST + at;
	desc->len = len;
	desc->id = id;
	desc->flags = packed_flags(packed, flags);
	if (!packed->described)
		desc->flags ^= PACKED_AVAIL | PACKED_USED;
	packed->described = true;
	if (++packed->next_avail == packed->size) {
		packed->next_avail = 0;
		packed->avail_wrap = !packed->avail_wrap;
	}
	return place;
}

/* Makes the chain available that starts at @place. */
static inline void packed_offer(struct packed_driver *packed, uint16_t place)
{
	packed->described = false;
	__atomic_store_n(&packed->desc[place].flags, packed->desc[place].flags ^ (PACKED_AVAIL | PACKED_USED),
		__ATOMIC_SEQ_CST);
}

/* A chain of one readable descriptor. */
static inline void packed_offer_one(struct packed_driver *packed, uint16_t id)
{
	packed_offer(packed, packed_describe(packed, AT_DATA, 16, 0, id));
}

/* The next used descriptor, or NULL; the chain had @count descriptors. */
static inline const struct packed_desc *packed_used(struct packed_driver *packed, uint16_t count)
{
	const struct packed_desc *desc = &packed->desc[packed->next_used];
	uint16_t flags = __atomic_load_n(&desc->flags, __ATOMIC_SEQ_CST);

	if (!(flags & PACKED_AVAIL) != !packed->used_wrap || !(flags & PACKED_USED) != !packed->used_wrap)
		return NULL;
	packed->next_used = (uint16_t)(packed->next_used + count);
	if (packed->next_used >= packed->size) {
		packed->next_used = (uint16_t)(packed->next_used - packed->size);
		packed->used_wrap = !packed->used_wrap;
	}
	return desc;
}
