/* cache/crash.h -- what a disk may hold after a power cut, worked out from the history of what it was asked.
 *
 * The model, at a moment (cache/history.h):
 * - A change is durable if it has been answered with success, and it had FUA or a flush that was submitted after that answer
 *   has been answered with success.
 * - Of the others that have been submitted, any subset has reached the disk; with tearing, any subset of the sectors of each.
 *   A change that failed is one of them for ever.
 * - Each takes effect at some point between its submission and its answer, so what was answered before the next one
 *   came is never found on top of it. Of those that overlap in time and place either may be on top; the history does
 *   not tell which one readers have seen there.
 * - A trim, like a zero, leaves zeroes.
 * Every state so made is legal, and every legal one can be made, but for changes that a disk would tear in different orders at
 * different sectors while they are durable.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/history.h"

/* Parts of one change that are drawn for themselves. Covers every write; a trim of a disk of gigabytes, as mkfs does it, is torn in
 * larger parts than sectors, or a single state would take gigabytes of memory. */
#define CRASH_PARTS_MAX 65537u

enum crash_kind {
	CRASH_NONE,	  /* what is durable, and nothing else */
	CRASH_ALL,	  /* everything that was submitted */
	CRASH_SEED,	  /* drawn */
	CRASH_ENUMERATED, /* the one of that number */
};

struct crash_choice {
	enum crash_kind kind;
	uint64_t number;    /* of CRASH_SEED, CRASH_ENUMERATED */
	uint32_t tear_size; /* bytes of a sector: a power of two; 0: a change is there or not, as a whole */
};

struct crash_change {
	const struct history_change *change; /* borrowed: the history's */
	bool durable;
	bool has_partner;      /* among those of this moment */
	uint64_t takes_effect; /* an entry */
	unsigned rank;	       /* among those at the same one; alike: as submitted */
};

/* One moment, to be moved on. */
struct crash {
	const struct history *history; /* borrowed: by the caller */
	uint64_t at;		       /* entries */
	size_t settled;		       /* changes before this one are durable, and below all that follow */
	size_t end;		       /* changes from this one on are submitted later */
	struct crash_change *changes; /* owned: those from settled to end, in the order of their submission */
	size_t room;
	size_t optional_count;	   /* of them; not durable */
	uint64_t optional_sectors; /* of those, where tearing was asked for; saturates */
};

/* crash_init() - the beginning: nothing was submitted. */
void crash_init(struct crash *crash, const struct history *history);
void crash_fini(struct crash *crash);

/* crash_move() - to moment @at, not before the one it is at, nor past the history's end. @tear_size: as crash_choice's.
 * Changes that are settled now and were not before are told to @settle, in the order in which they took effect; it returns 0 or
 * -errno, which ends this.
 * Returns 0, -ENOMEM, or what @settle returned. */
int crash_move(struct crash *crash, uint64_t at, uint32_t tear_size,
	int (*settle)(void *context, const struct history_request *request), void *context);

/* crash_states() - how many there are to be enumerated; some may be alike. Returns 0: more than fit into 64 bits, or more orders
 * than can be counted. */
uint64_t crash_states(const struct crash *crash);

/* crash_choose() - make one state of this moment: @apply is told every part of a change that has reached the disk, in the order in
 * which they did: @offset, @length: bytes of the disk within @request. It returns 0 or -errno, which ends this.
 * @choice: a CRASH_ENUMERATED's number is below crash_states(); tear_size is that of crash_move().
 * Returns 0, -ENOMEM, or what @apply returned. */
int crash_choose(struct crash *crash, const struct crash_choice *choice,
	int (*apply)(void *context, const struct history_request *request, uint64_t offset, uint64_t length),
	void *context);
