/* cache/crash.c -- which changes are durable at a moment, and one choice of the others. */
#include "cache/crash.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/block.h"
#include "cache/crash_order.h"
#include "cache/draw.h"

void crash_init(struct crash *crash, const struct history *history)
{
	*crash = (struct crash){ .history = history };
}

void crash_fini(struct crash *crash)
{
	free(crash->changes);
}

/* The moment. */

/* What had been answered by this entry is covered by a flush that has been answered. */
static uint64_t covered_until(const struct history *history, uint64_t at)
{
	uint64_t until = 0;

	for (size_t i = 0; i < history->request_count && history->requests[i].submitted < at; i++) {
		const struct history_request *request = &history->requests[i];

		if (request->op == BLOCK_FLUSH && request->completed < at && request->status == 0)
			until = request->submitted;
	}
	return until;
}

static bool is_durable(const struct history_request *request, uint64_t at, uint64_t covered)
{
	if (request->completed >= at || request->status != 0)
		return false;
	return request->flags & BLOCK_FUA || request->completed < covered;
}

static uint64_t sectors_of(const struct history_request *request, uint64_t tear_size)
{
	uint64_t first = request->offset / tear_size;

	return (request->offset + request->length + tear_size - 1) / tear_size - first;
}

static_assert(CRASH_PARTS_MAX > BLOCK_DATA_MAX / 512, "each sector of a write has its own luck");

/* What is torn as a whole, bytes: a sector, or, of a trim or zero of a large disk, many of them. */
static uint64_t grain_of(const struct history_request *request, uint32_t tear_size)
{
	uint64_t grain = tear_size;

	while (sectors_of(request, grain) > CRASH_PARTS_MAX)
		grain *= 2;
	return grain;
}

static void count_optional(struct crash *crash, uint32_t tear_size)
{
	crash->optional_count = 0;
	crash->optional_sectors = 0;
	for (size_t i = 0; i < crash->end - crash->settled; i++) {
		if (crash->changes[i].durable)
			continue;
		crash->optional_count++;
		crash->optional_sectors +=
			tear_size ? sectors_of(crash->changes[i].change->request, tear_size) : 1;
		if (crash->optional_sectors > UINT32_MAX)
			crash->optional_sectors = UINT32_MAX;
	}
}

static int make_room(struct crash *crash, size_t count)
{
	struct crash_change *more;

	if (count <= crash->room)
		return 0;
	more = reallocarray(crash->changes, 2 * count, sizeof(*more));
	if (!more)
		return -ENOMEM;
	crash->changes = more;
	crash->room = 2 * count;
	return 0;
}

/* All up to the first that is not durable, or whose place in the order is not known. */
static size_t settled_end(const struct crash *crash, uint64_t covered)
{
	const struct history_change *changes = crash->history->changes;
	size_t i = crash->settled;

	while (i < crash->end && changes[i].partner_first == i &&
		is_durable(changes[i].request, crash->at, covered))
		i++;
	return i;
}

static int fill(struct crash *crash, uint64_t covered)
{
	const struct history *history = crash->history;

	if (make_room(crash, crash->end - crash->settled))
		return -ENOMEM;
	for (size_t i = crash->settled; i < crash->end; i++) {
		const struct history_change *change = &history->changes[i];

		crash->changes[i - crash->settled] = (struct crash_change){
			.change = change,
			.durable = is_durable(change->request, crash->at, covered),
			.has_partner = change->partner_first != i && change->partner_first < crash->end,
		};
	}
	return 0;
}

int crash_move(struct crash *crash, uint64_t at, uint32_t tear_size,
	int (*settle)(void *context, const struct history_request *request), void *context)
{
	const struct history *history = crash->history;
	uint64_t covered = covered_until(history, at);
	size_t settled;
	int error = 0;

	assert(at >= crash->at && at <= history->entries);
	crash->at = at;
	while (crash->end < history->change_count && history->changes[crash->end].request->submitted < at)
		crash->end++;
	settled = settled_end(crash, covered);
	for (; crash->settled < settled && !error; crash->settled++)
		error = settle(context, history->changes[crash->settled].request);
	if (!error)
		error = fill(crash, covered);
	if (!error)
		count_optional(crash, tear_size);
	return error;
}

/* The choice. */

uint64_t crash_states(const struct crash *crash)
{
	uint64_t orders = crash_order_count(crash);

	if (crash->optional_sectors > 63 || orders > UINT64_MAX >> crash->optional_sectors)
		return 0;
	return orders << crash->optional_sectors;
}

static void take_effect_when_submitted(struct crash *crash)
{
	for (size_t i = 0; i < crash->end - crash->settled; i++) {
		crash->changes[i].takes_effect = crash->changes[i].change->request->submitted;
		crash->changes[i].rank = 0;
	}
}

static void draw_order(struct crash *crash, struct draw *draw)
{
	for (size_t i = 0; i < crash->end - crash->settled; i++) {
		const struct history_request *request = crash->changes[i].change->request;
		uint64_t last = request->completed < crash->at ? request->completed : crash->at;

		if (crash->changes[i].has_partner)
			crash->changes[i].takes_effect += draw_below(draw, last - request->submitted + 1);
	}
}

/* What has reached the disk of the next change. */
struct luck {
	const struct crash_choice *choice;
	struct draw draw;
	unsigned kept_of_8;	 /* of a change drawn: as a whole */
	unsigned kept_of_change; /* likewise: of the sectors of this one */
	uint64_t bits;		 /* CRASH_ENUMERATED: one for each, the lowest is next */
};

static void luck_init(struct luck *luck, const struct crash_choice *choice)
{
	*luck = (struct luck){ .choice = choice, .bits = choice->number };
	if (choice->kind != CRASH_SEED)
		return;
	draw_init(&luck->draw, choice->number);
	luck->kept_of_8 = (unsigned)draw_below(&luck->draw, 9);
}

/* A change begins: none, all, or some of its sectors. */
static void luck_next(struct luck *luck)
{
	if (luck->choice->kind != CRASH_SEED)
		return;
	luck->kept_of_change = draw_below(&luck->draw, 8) < luck->kept_of_8 ? 8 : 0;
	if (luck->choice->tear_size && draw_below(&luck->draw, 4) == 0)
		luck->kept_of_change = 1 + (unsigned)draw_below(&luck->draw, 7);
}

static bool is_kept(struct luck *luck)
{
	bool kept;

	switch (luck->choice->kind) {
	case CRASH_ALL:
		return true;
	case CRASH_SEED:
		return draw_below(&luck->draw, 8) < luck->kept_of_change;
	case CRASH_ENUMERATED:
		kept = luck->bits & 1;
		luck->bits >>= 1;
		return kept;
	default:
		return false;
	}
}

/* Whether a part of the change is kept is asked in the order of submission, and told in the order of effect. */
struct part {
	const struct history_request *request;
	uint64_t takes_effect, offset, length;
	size_t rank, place;
};

struct parts {
	struct part *list; /* owned */
	size_t count, room;
};

static int add_part(struct parts *parts, const struct crash_change *change, uint64_t offset, uint64_t length)
{
	struct part *last = parts->count ? &parts->list[parts->count - 1] : NULL;

	if (last && last->request == change->change->request && last->offset + last->length == offset) {
		last->length += length;
		return 0;
	}
	if (parts->count == parts->room) {
		size_t room = parts->room ? 2 * parts->room : 64;
		struct part *more = reallocarray(parts->list, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		parts->list = more;
		parts->room = room;
	}
	parts->list[parts->count] = (struct part){ .request = change->change->request,
		.takes_effect = change->takes_effect,
		.offset = offset,
		.length = length,
		.rank = change->rank,
		.place = parts->count };
	parts->count++;
	return 0;
}

static int add_torn(struct parts *parts, const struct crash_change *change, struct luck *luck)
{
	const struct history_request *request = change->change->request;
	uint64_t end = request->offset + request->length, next;
	uint64_t grid = grain_of(request, luck->choice->tear_size);

	for (uint64_t at = request->offset; at < end; at = next) {
		next = (at / grid + 1) * grid < end ? (at / grid + 1) * grid : end;
		if (is_kept(luck) && add_part(parts, change, at, next - at))
			return -ENOMEM;
	}
	return 0;
}

static int add_parts(struct parts *parts, const struct crash_change *change, struct luck *luck)
{
	const struct history_request *request = change->change->request;

	if (change->durable || luck->choice->kind == CRASH_ALL)
		return add_part(parts, change, request->offset, request->length);
	luck_next(luck);
	if (luck->choice->tear_size)
		return add_torn(parts, change, luck);
	return is_kept(luck) ? add_part(parts, change, request->offset, request->length) : 0;
}

static int by_effect(const void *one, const void *other)
{
	const struct part *a = one, *b = other;

	if (a->takes_effect != b->takes_effect)
		return a->takes_effect < b->takes_effect ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return a->place < b->place ? -1 : a->place > b->place;
}

static int choose_parts(struct crash *crash, const struct crash_choice *choice, struct parts *parts)
{
	struct luck luck;
	int error = 0;

	luck_init(&luck, choice);
	take_effect_when_submitted(crash);
	if (choice->kind == CRASH_SEED)
		draw_order(crash, &luck.draw);
	else if (choice->kind == CRASH_ENUMERATED && crash->optional_sectors < 64)
		error = crash_order_take(crash, choice->number >> crash->optional_sectors);
	for (size_t i = 0; i < crash->end - crash->settled && !error; i++)
		error = add_parts(parts, &crash->changes[i], &luck);
	if (!error && parts->count > 1)
		qsort(parts->list, parts->count, sizeof(*parts->list), by_effect);
	return error;
}

int crash_choose(struct crash *crash, const struct crash_choice *choice,
	int (*apply)(void *context, const struct history_request *request, uint64_t offset, uint64_t length),
	void *context)
{
	struct parts parts = { 0 };
	int error = choose_parts(crash, choice, &parts);

	for (size_t i = 0; i < parts.count && !error; i++)
		error = apply(context, parts.list[i].request, parts.list[i].offset, parts.list[i].length);
	free(parts.list);
	return error;
}
