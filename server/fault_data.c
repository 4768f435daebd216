/* server/fault_data.c -- tables: who can be done what to, and what is done before and after the disk is asked. */
#include "server/fault_data.h"

#include <errno.h>

static uint64_t unit_of(const struct disk_facts *facts)
{
	return facts->block_size_min > FAULT_SECTOR ? facts->block_size_min : FAULT_SECTOR;
}

/* What a write is torn at: the disk takes no less than its blocks. */
static uint64_t sector_of(const uint64_t *arguments, const struct disk_facts *facts)
{
	return arguments[0] > facts->block_size_min ? arguments[0] : facts->block_size_min;
}

/* The first multiple of @sector behind @offset. */
static uint64_t boundary_after(uint64_t offset, uint64_t sector)
{
	return offset - offset % sector + sector;
}

/* Who can be done what to. */

static bool is_torn(
	const struct fault_rule *rule, const struct disk_facts *facts, const struct block_req *block)
{
	return boundary_after(block->offset, sector_of(rule->arguments, facts)) <
	       block->offset + block->length;
}

/* Where a request of @length that is meant for @offset lands, @distance further on: behind the end it goes on at the start. */
static uint64_t landing(const struct disk_facts *facts, uint64_t offset, uint64_t length, uint64_t distance)
{
	uint64_t grid = facts->block_size_min, size = facts->size, places;

	if (length > size)
		return offset;
	places = (size - length) / grid + 1;
	return (offset / grid + distance / grid) % places * grid + offset % grid;
}

static bool lands_elsewhere(
	const struct fault_rule *rule, const struct disk_facts *facts, const struct block_req *block)
{
	return landing(facts, block->offset, block->length, rule->arguments[0]) != block->offset;
}

static bool is_promised(
	const struct fault_rule *rule, const struct disk_facts *facts, const struct block_req *block)
{
	(void)rule;
	(void)facts;
	return block->op == BLOCK_FLUSH || block->flags & BLOCK_FUA;
}

static bool has_sectors(
	const struct fault_rule *rule, const struct disk_facts *facts, const struct block_req *block)
{
	(void)rule;
	return block->length >= unit_of(facts) && facts->size / unit_of(facts) > 1;
}

bool fault_data_applies(
	const struct fault_rule *rule, const struct disk_facts *facts, const struct block_req *block)
{
	static bool (*const rows[FAULT_ACTIONS])(const struct fault_rule *rule,
		const struct disk_facts *facts, const struct block_req *block) = {
		[FAULT_DO_tear] = is_torn,
		[FAULT_DO_tear_silently] = is_torn,
		[FAULT_DO_misdirect] = lands_elsewhere,
		[FAULT_DO_lie] = is_promised,
		[FAULT_DO_corrupt_sector] = has_sectors,
	};

	return !rows[rule->action] || rows[rule->action](rule, facts, block);
}

/* Before the disk is asked. */

static int refuse(const struct fault_effect *effect, const struct disk_facts *facts, struct block_req *block)
{
	(void)facts;
	(void)block;
	return -(int)effect->arguments[0];
}

static int refuse_full(
	const struct fault_effect *effect, const struct disk_facts *facts, struct block_req *block)
{
	(void)effect;
	(void)facts;
	(void)block;
	return -ENOSPC;
}

static int pretend(const struct fault_effect *effect, const struct disk_facts *facts, struct block_req *block)
{
	(void)effect;
	(void)facts;
	(void)block;
	return 0;
}

static int lie(const struct fault_effect *effect, const struct disk_facts *facts, struct block_req *block)
{
	(void)effect;
	(void)facts;
	if (block->op == BLOCK_FLUSH)
		return 0;
	block->flags &= ~(unsigned)BLOCK_FUA;
	return FAULT_ASK_DISK;
}

/* Up to one of the boundaries within. */
static int tear(const struct fault_effect *effect, const struct disk_facts *facts, struct block_req *block)
{
	uint64_t sector = sector_of(effect->arguments, facts), end = block->offset + block->length;
	uint64_t first = boundary_after(block->offset, sector), count = (end - 1 - first) / sector + 1;

	block->length =
		first - block->offset + sector * fault_random_below(effect->random, FAULT_DRAW_PLACE, count);
	block->iov->iov_len = block->length;
	return FAULT_ASK_DISK;
}

static int misdirect(
	const struct fault_effect *effect, const struct disk_facts *facts, struct block_req *block)
{
	block->offset = landing(facts, block->offset, block->length, effect->arguments[0]);
	return FAULT_ASK_DISK;
}

int fault_data_before(
	const struct fault_effect *effect, const struct disk_facts *facts, struct block_req *block)
{
	static int (*const rows[FAULT_ACTIONS])(const struct fault_effect *effect,
		const struct disk_facts *facts, struct block_req *block) = {
		[FAULT_DO_error] = refuse,
		[FAULT_DO_full] = refuse_full,
		[FAULT_DO_drop] = pretend,
		[FAULT_DO_lie] = lie,
		[FAULT_DO_tear] = tear,
		[FAULT_DO_tear_silently] = tear,
		[FAULT_DO_misdirect] = misdirect,
	};

	if (effect->action == FAULT_DO_NOTHING || !rows[effect->action])
		return FAULT_ASK_DISK;
	return rows[effect->action](effect, facts, block);
}

/* After it has answered. */

/* One in each of as many equal stretches: so no two meet in one bit and undo each other. */
static void flip_bits(const struct fault_effect *effect, uint8_t *data, uint64_t length)
{
	uint64_t count = effect->arguments[0] < 8 * length ? effect->arguments[0] : 8 * length;

	if (count >= FAULT_DRAWS - FAULT_DRAW_BITS)
		count = FAULT_DRAWS - FAULT_DRAW_BITS - 1;
	for (uint64_t i = 0; i < count; i++) {
		uint64_t stretch = 8 * length / count;
		uint64_t bit = i * stretch + fault_random_below(effect->random, FAULT_DRAW_BITS + i, stretch);

		data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

int fault_data_after(const struct fault_effect *effect, int status, uint8_t *data, uint64_t length)
{
	if (status == 0 && effect->action == FAULT_DO_tear)
		return -EIO;
	if (status == 0 && effect->action == FAULT_DO_corrupt_bits)
		flip_bits(effect, data, length);
	return status;
}

uint64_t fault_data_sector(const struct fault_effect *effect, const struct disk_facts *facts, uint64_t offset,
	uint64_t length, uint64_t *other, uint64_t *sector)
{
	uint64_t unit = unit_of(facts), here, own;

	here = unit * fault_random_below(effect->random, FAULT_DRAW_PLACE, length / unit);
	own = (offset + here) / unit;
	/* Any of them but its own. */
	*other = fault_random_below(effect->random, FAULT_DRAW_OTHER_PLACE, facts->size / unit - 1);
	*other = unit * (*other < own ? *other : *other + 1);
	*sector = unit;
	return here;
}
