/* cache/held.h -- what a simulated disk cache holds: writes, zeroes and trims that are completed and not on the disk yet, in the
 * order in which they completed.
 *
 * Each is kept by itself with a copy of its bytes, also when later ones cover it: a power cut may leave any version that
 * was written since the last flush. Nothing here locks; the list's owner does. Functions that take a range look at every
 * one that is held, of which there are bytes / HELD_COST_MIN at most.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cache/block.h"

/* What the smallest takes of the room there is, bytes: bounds how many there are, and so what a look at all of them costs. */
#define HELD_COST_MIN 4096u

struct held {
	struct held *older, *younger; /* the list's */
	uint64_t number;	      /* in order of completion, from 1 on */
	enum block_op op;	      /* BLOCK_WRITE, BLOCK_ZERO or BLOCK_TRIM */
	unsigned flags;		      /* BLOCK_NO_HOLE or 0 */
	uint64_t offset, length;      /* bytes */
	bool leaving;		      /* it is being written to the disk below, or about to be */
	bool void_;		      /* a trim that has nothing to do any more */
	uint8_t *data;		      /* owned: length bytes, also of a zero; NULL: a trim */
};

struct held_list {
	struct held *oldest, *youngest; /* owned */
	struct held *staying;		/* the oldest that is not leaving */
	uint64_t last_number;
};

/* Room that a write, zero or trim of @length bytes takes. */
uint64_t held_cost_of(enum block_op op, uint64_t length);
static inline uint64_t held_cost(const struct held *held)
{
	return held_cost_of(held->op, held->length);
}

/* held_new() - a copy of @req, a write, zero or trim, and its data, whose iovecs are consumed. NULL without memory. */
struct held *held_new(struct block_req *req);
void held_free(struct held *held);

/* Puts @held behind all others; it has completed now. */
void held_append(struct held_list *list, struct held *held);

/* held_leave() - the oldest that stays is leaving from now on; there must be one. */
struct held *held_leave(struct held_list *list);

/* Takes @held, which is leaving, out of the list; it is the caller's. */
void held_remove(struct held_list *list, struct held *held);

/* Frees all. */
void held_clear(struct held_list *list);

/* Whether any has bytes of the range. */
bool held_overlaps(const struct held_list *list, uint64_t offset, uint64_t length);

/* held_overlay() - put what is held of the range over what @iov (@length bytes in @count entries) has of the disk below.
 * A trim leaves what is there: what is read behind it is undefined. */
void held_overlay(const struct held_list *list, uint64_t offset, uint64_t length, const struct iovec *iov,
	unsigned count);

/* held_supersede() - what is held of the range is no longer to be seen: a newer write (@iov, as above) or zero (@iov: NULL) of
 * it has reached the disk below. Those held keep their other bytes; of a trim, nothing is left: trims are advice. None with
 * bytes of the range may be on its way to the disk now. */
void held_supersede(
	struct held_list *list, uint64_t offset, uint64_t length, const struct iovec *iov, unsigned count);
