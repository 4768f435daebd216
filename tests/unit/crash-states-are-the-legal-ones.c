/* The states that vnbd-replay makes are exactly those that a disk may be in after a power cut: none is missing from an
 * enumeration, none is impossible, and what was flushed or had FUA is in all of them.  If this fails, a filesystem is blamed for a
 * state that no disk gets into, or its flaw is never met.
 *
 * Small histories, drawn, against brute force: every order of the changes, and of each every part. */
#include "tests/unit/record_file.h"

#include "cache/crash.h"
#include "cache/draw.h"
#include "cache/history.h"

enum {
	CELLS = 4,
	CHANGES = 5,
	FLUSHES = 2,
	ACTIONS = 16,
	HISTORIES = 250,
	SEEDS = 40,
	STATES_MOST = 1 << 15
};

/* A state is CELLS bytes, in one number; cell values are below 16. */
typedef uint32_t state_t;

struct change {
	unsigned offset, length, value;
	bool fua, failed;
	uint64_t submitted, completed;
};

struct flush {
	uint64_t submitted, completed;
};

struct model {
	struct change changes[CHANGES];
	struct flush flushes[FLUSHES];
	unsigned change_count, flush_count;
	uint64_t at;
};

static bool seen[1 << 4 * CELLS];

/* Drawing a history. */

static void draw_change(struct record_file *file, struct model *model, struct draw *draw)
{
	struct change *change = &model->changes[model->change_count++];
	uint8_t data[CELLS];
	bool zero = draw_below(draw, 5) == 0;

	change->offset = (unsigned)draw_below(draw, CELLS);
	change->length = 1 + (unsigned)draw_below(draw, CELLS - change->offset);
	change->value = zero ? 0 : model->change_count;
	change->fua = draw_below(draw, 4) == 0;
	change->failed = draw_below(draw, 10) == 0;
	change->completed = HISTORY_NEVER;
	memset(data, (int)change->value, sizeof(data));
	change->submitted = put_submission(file, zero ? BLOCK_ZERO : BLOCK_WRITE, change->fua ? BLOCK_FUA : 0,
		change->offset, change->length, data);
}

static void draw_flush(struct record_file *file, struct model *model)
{
	model->flushes[model->flush_count++] =
		(struct flush){ put_submission(file, BLOCK_FLUSH, 0, 0, 0, NULL), HISTORY_NEVER };
}

static void complete_change(struct record_file *file, struct change *change)
{
	if (change->completed != HISTORY_NEVER)
		return;
	change->completed = file->entries;
	put_completion(file, change->submitted, change->failed ? -EIO : 0);
}

static void complete_flush(struct record_file *file, struct flush *flush)
{
	if (flush->completed != HISTORY_NEVER)
		return;
	flush->completed = file->entries;
	put_completion(file, flush->submitted, 0);
}

static void draw_action(struct record_file *file, struct model *model, struct draw *draw)
{
	switch (draw_below(draw, 4)) {
	case 0:
		if (model->change_count < CHANGES)
			draw_change(file, model, draw);
		break;
	case 1:
		if (model->flush_count < FLUSHES && draw_below(draw, 2))
			draw_flush(file, model);
		break;
	case 2:
		if (model->flush_count)
			complete_flush(file, &model->flushes[draw_below(draw, model->flush_count)]);
		break;
	default:
		if (model->change_count)
			complete_change(file, &model->changes[draw_below(draw, model->change_count)]);
	}
}

/* Brute force. */

static bool is_promised(const struct model *model, const struct change *change)
{
	if (change->failed || change->completed >= model->at)
		return false;
	for (unsigned i = 0; i < model->flush_count; i++)
		if (model->flushes[i].submitted > change->completed &&
			model->flushes[i].completed < model->at)
			return true;
	return change->fua;
}

/* Applies the cells of @change that @kept has. */
static state_t with(state_t state, const struct change *change, unsigned kept)
{
	for (unsigned cell = change->offset; cell < change->offset + change->length; cell++)
		if (kept & 1u << cell)
			state = (state & ~(0xfu << 4 * cell)) | change->value << 4 * cell;
	return state;
}

/* All that can follow from @state once the changes in @gone have taken effect or not. @tears: cells may be lost one by one. */
static void try_all(const struct model *model, unsigned gone, state_t state, bool tears)
{
	bool last = true;

	for (unsigned i = 0; i < model->change_count; i++) {
		const struct change *change = &model->changes[i];
		bool first = true;

		if (gone & 1u << i || change->submitted >= model->at)
			continue;
		last = false;
		for (unsigned j = 0; j < model->change_count; j++)
			if (j != i && !(gone & 1u << j) && model->changes[j].completed < change->submitted)
				first = false;
		if (!first)
			continue;
		if (is_promised(model, change)) {
			try_all(model, gone | 1u << i, with(state, change, ~0u), tears);
			continue;
		}
		for (unsigned kept = 0; kept < 1u << CELLS; kept++) {
			unsigned bytes = kept >> change->offset;

			/* Once for each part that there is. */
			if (kept & ((1u << change->offset) - 1) || bytes >> change->length)
				continue;
			if (tears || bytes == 0 || bytes == (1u << change->length) - 1)
				try_all(model, gone | 1u << i, with(state, change, kept), tears);
		}
	}
	if (last)
		seen[state] = true;
}

/* What is under test. */

struct making {
	const struct history *history;
	state_t state;
};

static int put(void *context, const struct history_request *request, uint64_t offset, uint64_t length)
{
	struct making *making = context;
	uint8_t data[CELLS] = { 0 };

	if (request->op == BLOCK_WRITE)
		assert_int_equal(pread(making->history->reader.fd, data, length,
					 (off_t)(request->data_at + offset - request->offset)),
			(ssize_t)length);
	for (uint64_t i = 0; i < length; i++)
		making->state = (making->state & ~(0xfu << 4 * (offset + i))) | (uint32_t)data[i]
											<< 4 * (offset + i);
	return 0;
}

static int settle(void *context, const struct history_request *request)
{
	return put(context, request, request->offset, request->length);
}

static state_t make(struct crash *crash, state_t settled, struct crash_choice choice)
{
	struct making making = { crash->history, settled };

	assert_int_equal(crash_choose(crash, &choice, put, &making), 0);
	return making.state;
}

static void check_enumeration(struct crash *crash, state_t settled, uint32_t tear_size, uint64_t states)
{
	static bool made[1 << 4 * CELLS];

	memset(made, 0, sizeof(made));
	for (uint64_t i = 0; i < states; i++)
		made[make(crash, settled, (struct crash_choice){ CRASH_ENUMERATED, i, tear_size })] = true;
	assert_memory_equal(made, seen, sizeof(seen));
}

static void check(struct crash *crash, const struct model *model, state_t settled, uint32_t tear_size,
	unsigned *checked)
{
	uint64_t states = crash_states(crash);

	memset(seen, 0, sizeof(seen));
	try_all(model, 0, 0, tear_size);
	assert_true(states > 0);
	assert_true(seen[make(crash, settled, (struct crash_choice){ CRASH_NONE, 0, tear_size })]);
	assert_true(seen[make(crash, settled, (struct crash_choice){ CRASH_ALL, 0, tear_size })]);
	for (uint64_t seed = 0; seed < SEEDS; seed++)
		assert_true(seen[make(crash, settled, (struct crash_choice){ CRASH_SEED, seed, tear_size })]);
	if (states > STATES_MOST)
		return;
	check_enumeration(crash, settled, tear_size, states);
	(*checked)++;
}

static unsigned run_history(uint64_t seed, uint32_t tear_size)
{
	struct record_file file;
	struct model model = { 0 };
	struct history history;
	struct crash crash;
	struct draw draw;
	struct making making = { &history, 0 };
	unsigned checked = 0;
	char why[256];

	draw_init(&draw, seed);
	begin_record(&file, CELLS);
	for (int i = 0; i < ACTIONS; i++)
		draw_action(&file, &model, &draw);
	close(file.fd);
	if (history_load(&history, file.path, why, sizeof(why)) != 0)
		fail_msg("%s", why);
	assert_int_equal(history.entries, file.entries);
	crash_init(&crash, &history);
	/* Some moments on the way; what has been settled by one stays so. */
	for (uint64_t at = 0; at <= history.entries; at += 1 + draw_below(&draw, 8)) {
		model.at = at;
		assert_int_equal(crash_move(&crash, at, tear_size, settle, &making), 0);
		check(&crash, &model, making.state, tear_size, &checked);
	}
	crash_fini(&crash);
	history_free(&history);
	remove_temporary_files();
	return checked;
}

static void whole_changes(void **state)
{
	unsigned checked = 0;

	(void)state;
	for (uint64_t seed = 0; seed < HISTORIES; seed++)
		checked += run_history(seed, 0);
	print_message("%u moments enumerated\n", checked);
	assert_true(checked > HISTORIES);
}

static void torn_changes(void **state)
{
	unsigned checked = 0;

	(void)state;
	for (uint64_t seed = 0; seed < HISTORIES / 5; seed++)
		checked += run_history(seed, 1);
	print_message("%u moments enumerated\n", checked);
	assert_true(checked > HISTORIES / 10);
}

/* Two that are in flight together may be on top of each other in either way, others only as they came. */
static void orders(void **state)
{
	struct record_file file;
	struct history history;
	struct crash crash;
	uint64_t first, second;
	char why[256];

	(void)state;
	begin_record(&file, CELLS);
	put_completion(&file, put_submission(&file, BLOCK_WRITE, BLOCK_FUA, 0, 2, "\1\1"), 0);
	first = put_submission(&file, BLOCK_WRITE, BLOCK_FUA, 0, 2, "\2\2");
	second = put_submission(&file, BLOCK_WRITE, BLOCK_FUA, 1, 2, "\3\3");
	put_completion(&file, second, 0);
	put_completion(&file, first, 0);
	close(file.fd);
	assert_int_equal(history_load(&history, file.path, why, sizeof(why)), 0);
	crash_init(&crash, &history);
	assert_int_equal(crash_move(&crash, 6, 0, settle, &(struct making){ &history, 0 }), 0);
	assert_int_equal(crash.settled, 1);
	assert_int_equal(crash_states(&crash), 2);
	assert_int_equal(make(&crash, 0x11, (struct crash_choice){ CRASH_ENUMERATED, 0, 0 }), 0x332);
	assert_int_equal(make(&crash, 0x11, (struct crash_choice){ CRASH_ENUMERATED, 1, 0 }), 0x322);
	crash_fini(&crash);
	history_free(&history);
}

static int count_part(void *context, const struct history_request *request, uint64_t offset, uint64_t length)
{
	uint64_t *parts = context;

	assert_true(offset >= request->offset && offset - request->offset + length <= request->length);
	++*parts;
	return 0;
}

/* As mkfs trims a large disk, which nobody has flushed: no state of it takes more memory for that. */
static void a_trim_of_a_large_disk(void **state)
{
	const uint64_t size = 1ull << 50;
	struct record_file file;
	struct history history;
	struct crash crash;
	char why[256];

	(void)state;
	begin_record(&file, size);
	put_completion(&file, put_submission(&file, BLOCK_TRIM, 0, 0, size, NULL), 0);
	close(file.fd);
	assert_int_equal(history_load(&history, file.path, why, sizeof(why)), 0);
	crash_init(&crash, &history);
	assert_int_equal(crash_move(&crash, 2, 512, settle, NULL), 0);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		uint64_t parts = 0;

		assert_int_equal(crash_choose(&crash, &(struct crash_choice){ CRASH_SEED, seed, 512 },
					 count_part, &parts),
			0);
		assert_true(parts <= CRASH_PARTS_MAX);
	}
	crash_fini(&crash);
	history_free(&history);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_changes),
		cmocka_unit_test(torn_changes),
		cmocka_unit_test(orders),
		cmocka_unit_test(a_trim_of_a_large_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
