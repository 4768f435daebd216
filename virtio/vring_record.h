/* virtio/vring_record.h -- what is in flight, written down where it outlives us; for the layouts alone.
 *
 * Whatever moment we are killed at, the record tells our successor which chains the driver still waits for, and in which
 * order they were taken. Every function is called at the point of the driver's view that its comment names.
 *
 * The memory is the VMM's as well, so it is hostile: it is read at the beginning only, each field once and checked; from
 * then on it is written, from what we know ourselves. (A chain that is taken again is read from it, as from the ring.)
 */
#pragma once

#include "virtio/inflight_wire.h"
#include "virtio/vring.h"

/* Our view of the other processes' memory: stores become visible in the order of the program. */
#define RECORD_PUT(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)
#define RECORD_GET(field)	 __atomic_load_n(&(field), __ATOMIC_ACQUIRE)

/* record_open() - look at the region's beginning: the same in both layouts.
 * @known: becomes whether it tells of an earlier life. Returns what is wrong, or NULL. */
const char *record_open(struct vring *ring, bool *known);

/* A chain found in flight: its head's entry or its id. */
struct record_found {
	uint64_t counter;
	uint16_t what;
};

/* record_found() - these @count chains are to be taken again, in the order of their counters. Sorts @found. */
void record_found(struct vring *ring, struct record_found *found, unsigned count);

/* After record_open(): recover where the record is known, else init. To recover returns what is wrong, or NULL.
 *
 * Split: @used_idx as the driver sees it now.
 * take: before the chain of @head counts as taken. give: it is in the used ring, but not yet
 * visible. publish: used_idx has just become visible. */
const char *record_split_recover(struct vring *ring, uint16_t used_idx);
void record_split_init(struct vring *ring, uint16_t used_idx);
void record_split_take(struct vring *ring, uint16_t head);
void record_split_give(struct vring *ring, uint16_t head);
void record_split_publish(struct vring *ring, uint16_t used_idx);

/* Packed.
 * recover: sets next_used, used_wrap, taken and the chains taken. note: descriptor number @index of the chain that is
 * being read is @desc. take: before chain @id, all of whose descriptors were noted, counts as taken. give, given: before
 * and after the used descriptor is visible; next_used is the place behind it both times. */
struct record_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags; /* native byte order */
};

const char *record_packed_recover(struct vring *ring);
void record_packed_init(struct vring *ring);
void record_packed_note(struct vring *ring, unsigned index, const struct record_desc *desc);
void record_packed_take(struct vring *ring, uint16_t id);
void record_packed_give(struct vring *ring, uint16_t id);
void record_packed_given(struct vring *ring, uint16_t id);

/* record_packed_read() - descriptor @at (an entry) of a chain taken before. Returns the entry of the chain's next. */
uint16_t record_packed_read(const struct vring *ring, uint16_t at, struct record_desc *copy);

/* Of the layout: whether the driver's descriptor at @place is available in the lap of @wrap. */
bool vring_packed_is_available(const struct vring *ring, uint16_t place, bool wrap);
