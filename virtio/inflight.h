/* virtio/inflight.h -- the memory that holds the records of all rings (vring_record.h): made by us, kept by the VMM, given
 * back to whoever serves it after us.
 *
 * It is a file that cannot shrink where we made it. Another one that the VMM truncates later is lost as its guest's memory
 * would be: foreign_memory.h.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Foreign numbers, as the VMM tells them. */
struct inflight_area {
	uint64_t size, offset; /* bytes, in the file */
	uint16_t num_queues, queue_size;
};

struct inflight;

/* inflight_create() - a new file for the records of area->num_queues rings of area->queue_size; fills in size and offset.
 * Returns the descriptor, the caller's; or -EINVAL: no ring, or one of no valid size; -errno of memfd_create(2). */
int inflight_create(uint64_t features, struct inflight_area *area);

/* inflight_map() - @fd (borrowed). Returns 0, or -errno and what is wrong in @why: -EINVAL: it is no memory file, or
 * shorter than it is said to be. */
int inflight_map(const struct inflight_area *area, int fd, struct inflight **out, const char **why);
void inflight_free(struct inflight *inflight); /* NULL is fine */

/* inflight_clear() - nothing is in flight any more, and no ring has begun; while no ring works with its record. */
void inflight_clear(struct inflight *inflight);

/* inflight_record() - where the record of ring @index is, where the features are these.
 * @bytes: becomes how long it is; 0: there is none for that ring, and what is returned must not be used. Not NULL. */
void *inflight_record(const struct inflight *inflight, uint64_t features, unsigned index, uint64_t *bytes);
