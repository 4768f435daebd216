/* cache/survival.c -- a draw for each write that is held, then one for its place, then one for each of its sectors. */
#include "cache/survival.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/draw.h"

enum fate { FATE_LOST, FATE_KEPT, FATE_TORN };

struct fated {
	struct held *held;
	enum fate fate;
};

static uint64_t sectors_of(const struct held *held, uint32_t sector)
{
	return (held->offset + held->length - 1) / sector - held->offset / sector + 1;
}

static enum fate draw_fate(const struct held *held, const struct survival_order *order, struct draw *draw)
{
	bool may_tear = order->sector && held->op != BLOCK_TRIM && sectors_of(held, order->sector) > 1;

	switch (order->keep) {
	case SURVIVAL_ALL:
		return may_tear && draw_below(draw, 2) ? FATE_TORN : FATE_KEPT;
	case SURVIVAL_RANDOM:
		return (enum fate)draw_below(draw, may_tear ? 3 : 2);
	default:
		return FATE_LOST;
	}
}

static void shuffle(struct fated *fated, size_t count, struct draw *draw)
{
	for (size_t left = count; left > 1; left--) {
		size_t other = (size_t)draw_below(draw, left);
		struct fated moved = fated[left - 1];

		fated[left - 1] = fated[other];
		fated[other] = moved;
	}
}

/* Behind the last of the same write, it becomes part of that. */
static int add(struct survival *survival, struct held *held, uint64_t offset, uint64_t length)
{
	struct survivor *last = survival->count ? &survival->survivors[survival->count - 1] : NULL;

	if (last && last->held == held && last->offset + last->length == offset) {
		last->length += length;
		return 0;
	}
	if (survival->count == survival->room) {
		size_t room = survival->room ? 2 * survival->room : 64;
		struct survivor *more = reallocarray(survival->survivors, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		survival->survivors = more;
		survival->room = room;
	}
	survival->survivors[survival->count++] = (struct survivor){ held, offset, length };
	return 0;
}

/* Sector @index of @held: a first or last one may have less of it. */
static int add_sector(struct survival *survival, struct held *held, uint32_t sector, uint64_t index)
{
	uint64_t grid = held->offset / sector * sector + index * sector;
	uint64_t start = grid > held->offset ? grid : held->offset;
	uint64_t end = grid + sector;

	if (end > held->offset + held->length)
		end = held->offset + held->length;
	return add(survival, held, start, end - start);
}

/* Any of its sectors, but one of them that surely is there and another that surely is not. */
static int add_torn(struct survival *survival, struct held *held, uint32_t sector, struct draw *draw)
{
	uint64_t count = sectors_of(held, sector), there = draw_below(draw, count);
	uint64_t missing = (there + 1 + draw_below(draw, count - 1)) % count;
	int error = 0;

	for (uint64_t i = 0; i < count && !error; i++) {
		bool luck = draw_below(draw, 2);

		if (i == there || (luck && i != missing))
			error = add_sector(survival, held, sector, i);
	}
	return error;
}

static int add_all(struct survival *survival, const struct fated *fated, size_t count,
	const struct survival_order *order, struct draw *draw)
{
	uint64_t *const counters[] = {
		[FATE_LOST] = &survival->counts.lost,
		[FATE_KEPT] = &survival->counts.kept,
		[FATE_TORN] = &survival->counts.torn,
	};
	int error = 0;

	for (size_t i = 0; i < count && !error; i++) {
		struct held *held = fated[i].held;

		++*counters[fated[i].fate];
		if (fated[i].fate == FATE_KEPT)
			error = add(survival, held, held->offset, held->length);
		else if (fated[i].fate == FATE_TORN)
			error = add_torn(survival, held, order->sector, draw);
	}
	return error;
}

static size_t count_of(const struct held_list *list)
{
	size_t count = 0;

	for (const struct held *held = list->oldest; held; held = held->younger)
		count += !held->void_;
	return count;
}

int survival_draw(const struct held_list *list, const struct survival_order *order, struct survival *out)
{
	size_t count = count_of(list), i = 0;
	struct fated *fated = calloc(count + 1, sizeof(*fated));
	struct draw draw;
	int error;

	*out = (struct survival){ 0 };
	if (!fated)
		return -ENOMEM;
	draw_init(&draw, order->seed);
	for (struct held *held = list->oldest; held; held = held->younger)
		if (!held->void_)
			fated[i++] = (struct fated){ held, draw_fate(held, order, &draw) };
	if (order->keep == SURVIVAL_RANDOM)
		shuffle(fated, count, &draw);
	error = add_all(out, fated, count, order, &draw);
	free(fated);
	if (error)
		survival_fini(out);
	return error;
}

void survival_fini(struct survival *survival)
{
	free(survival->survivors);
	*survival = (struct survival){ 0 };
}
