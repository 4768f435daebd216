/* cache/overlay_map.h -- which blocks an overlay has, in memory.
 *
 * Three bitmaps: present, by which requests go; marked, which is what the file's volatile map has or is about to have; and
 * durable, likewise of the durable map. A block is written, marked, and then present, so whoever finds it present may rely
 * on the volatile map.
 *
 * A block that is here stays here: bits are set and never cleared. Who reads needs no lock; what changes, or asks for
 * durability, takes one.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache/overlay_format.h"

/* The longest run that is looked for, blocks: 1 GiB, some microseconds. */
#define OVERLAY_RUN_MAX (1u << 18)

struct overlay_map {
	uint64_t blocks, pages;
	/* Owned: pages each. shared: written under lock; marked is read by the kernel, too, whenever it is written. */
	_Atomic uint64_t *present, *marked;
	uint64_t *durable;	    /* owned: pages; who commits */
	uint8_t *page_state;	    /* owned: pages; shared: under lock */
	uint64_t dirty, committing; /* shared: under lock; pages */
	pthread_mutex_t lock;
};

/* overlay_map_init() - of @layout, with nothing present. Returns 0 or -ENOMEM. */
int overlay_map_init(struct overlay_map *map, const struct overlay_layout *layout);
void overlay_map_fini(struct overlay_map *map);

/* overlay_map_load() - while nobody else knows it: the bits of page @page, as the file has them, are OR-ed in.
 * @durable: they are the durable map's. */
void overlay_map_load(
	struct overlay_map *map, uint64_t page, const uint64_t bits[OVERLAY_BLOCK / 8], bool durable);

/* Whether @block is here; in @end the block behind the run of the like of it, up to @limit or OVERLAY_RUN_MAX. */
bool overlay_map_run(const struct overlay_map *map, uint64_t block, uint64_t limit, uint64_t *end);

/* Whether all from @block to before @end are here, and are no more than OVERLAY_RUN_MAX. */
bool overlay_map_has(const struct overlay_map *map, uint64_t block, uint64_t end);

/* Their data is written: whatever is written of marked from now on has them. */
void overlay_map_mark(struct overlay_map *map, uint64_t block, uint64_t end);

/* Their data is written, and the volatile map, where there is one: from now on they are here. */
void overlay_map_add(struct overlay_map *map, uint64_t block, uint64_t end);

/* Whether the durable map in the file has them, and has had it synced. */
bool overlay_map_is_durable(struct overlay_map *map, uint64_t block, uint64_t end);
/* Whether it has all that is present. */
bool overlay_map_is_clean(struct overlay_map *map);

/* A commit, one at a time: begin, sync the data, write what overlay_map_next() finds in durable, sync that, end. */

/* Takes what is present now. Returns whether the durable map lacks any of it. */
bool overlay_map_begin(struct overlay_map *map);

/* The next pages to be written, from page *@first on, one behind the other up to *@end; at most @max. Returns false:
 * there are none. */
bool overlay_map_next(struct overlay_map *map, uint64_t *first, uint64_t *end, uint64_t max);

/* @done: all that overlay_map_begin() took is durable; else the next commit has to. */
void overlay_map_end(struct overlay_map *map, bool done);
