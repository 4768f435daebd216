/* cache/main.c -- vnbd-replay: what the command line says, and an exit status. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/replay.h"
#include "conf/cmdline.h"
#include "conf/log.h"

/* States that each makes; a seed is enough for any of them. */
enum { COUNT_DEFAULT = 100, COUNT_MOST = 10000000 };

static const struct command {
	const char *name;
	int (*run)(const struct replay *replay, struct history *history);
	bool makes_image, runs_program;
} commands[] = {
	{ "info", replay_info, false, false },
	{ "list", replay_list, false, false },
	{ "count", replay_count, false, false },
	{ "image", replay_image, true, false },
	{ "each", replay_each, true, true },
	{ 0 },
};

struct settings {
	const struct command *command;
	struct replay replay;
};

static struct replay *replay_of(void *settings)
{
	return &((struct settings *)settings)->replay;
}

/* Digits alone, which strtoull() is not content with. Returns 0, or -1 with @why. */
static int parse_number(const char *text, uint64_t *out, char *why)
{
	char *end;

	*out = strtoull(text, &end, 10);
	if (*text >= '0' && *text <= '9' && !*end && *out != UINT64_MAX)
		return 0;
	snprintf(why, CMDLINE_WHY_SIZE, "not a number: '%.100s'", text);
	return -1;
}

/* Whether @text is @word and a colon; then @number is what follows. */
static bool has_prefix(const char *text, const char *word, const char **number)
{
	size_t length = strlen(word);

	if (strncmp(text, word, length) != 0 || text[length] != ':')
		return false;
	*number = text + length + 1;
	return true;
}

/* A word that stands for @meaning, alone or with a colon and a number. */
struct meaning {
	const char *word;
	bool has_number;
	int meaning;
};

/* Looks @value up in @rows, and reads its number. @else_why: what there is. Returns 0, or -1 with @why. */
static int parse_meaning(const struct meaning *rows, const char *else_why, const char *value, int *meaning,
	uint64_t *number, char *why)
{
	const char *digits;

	for (; rows->word; rows++) {
		*meaning = rows->meaning;
		if (!rows->has_number && strcmp(value, rows->word) == 0)
			return 0;
		if (rows->has_number && has_prefix(value, rows->word, &digits))
			return parse_number(digits, number, why);
	}
	snprintf(why, CMDLINE_WHY_SIZE, "%s", else_why);
	return -1;
}

static int parse_at(struct replay_at *at, const char *value, char *why)
{
	static const struct meaning rows[] = {
		{ "end", false, REPLAY_END },
		{ "flush", true, REPLAY_FLUSH },
		{ "entry", true, REPLAY_ENTRY },
		{ 0 },
	};
	int place;
	int error = parse_meaning(rows, "not end, flush:N or entry:N", value, &place, &at->number, why);

	at->given = true;
	at->place = (enum replay_place)place;
	return error;
}

static int set_at(void *settings, const char *value, char *why)
{
	return parse_at(&replay_of(settings)->at, value, why);
}

static int set_from(void *settings, const char *value, char *why)
{
	return parse_at(&replay_of(settings)->from, value, why);
}

static int set_crash(void *settings, const char *value, char *why)
{
	static const struct meaning rows[] = {
		{ "none", false, CRASH_NONE },
		{ "all", false, CRASH_ALL },
		{ "seed", true, CRASH_SEED },
		{ "enumerate", true, CRASH_ENUMERATED },
		{ 0 },
	};
	struct crash_choice *choice = &replay_of(settings)->choice;
	int kind;
	int error = parse_meaning(
		rows, "not none, all, seed:N or enumerate:N", value, &kind, &choice->number, why);

	replay_of(settings)->choice_given = true;
	choice->kind = (enum crash_kind)kind;
	return error;
}

static int set_torn(void *settings, const char *value, char *why)
{
	uint64_t size;

	if (parse_number(value, &size, why) || (size != 512 && size != 4096)) {
		snprintf(why, CMDLINE_WHY_SIZE, "not 512 or 4096");
		return -1;
	}
	replay_of(settings)->choice.tear_size = (uint32_t)size;
	return 0;
}

static int set_base(void *settings, const char *value, char *why)
{
	(void)why;
	replay_of(settings)->base = value;
	return 0;
}

static int set_empty(void *settings, const char *value, char *why)
{
	(void)value;
	(void)why;
	replay_of(settings)->empty = true;
	return 0;
}

static int set_output(void *settings, const char *value, char *why)
{
	(void)why;
	replay_of(settings)->output = value;
	return 0;
}

static int set_seed(void *settings, const char *value, char *why)
{
	return parse_number(value, &replay_of(settings)->seed, why);
}

static int set_count(void *settings, const char *value, char *why)
{
	uint64_t *count = &replay_of(settings)->count;

	if (parse_number(value, count, why) == 0 && *count > 0 && *count <= COUNT_MOST)
		return 0;
	snprintf(why, CMDLINE_WHY_SIZE, "not a number from 1 to %d", COUNT_MOST);
	return -1;
}

static int set_keep_going(void *settings, const char *value, char *why)
{
	(void)value;
	(void)why;
	replay_of(settings)->keep_going = true;
	return 0;
}

static int set_json(void *settings, const char *value, char *why)
{
	(void)value;
	(void)why;
	replay_of(settings)->json = true;
	return 0;
}

static int take_command(struct settings *settings, const char *word, char *why)
{
	for (const struct command *command = commands; command->name; command++)
		if (strcmp(command->name, word) == 0) {
			settings->command = command;
			return 0;
		}
	snprintf(why, CMDLINE_WHY_SIZE,
		"no such command is known; there are info, list, count, image and each");
	return -1;
}

/* The command, the record, and what else is left is a program. */
static int take_word(void *settings, const char *word, char *why)
{
	struct settings *set = settings;

	if (!set->command)
		return take_command(set, word, why);
	if (!set->replay.record) {
		set->replay.record = word;
		return 0;
	}
	if (!set->command->runs_program) {
		snprintf(why, CMDLINE_WHY_SIZE, "one record is enough");
		return -1;
	}
	set->replay.program[set->replay.program_count++] = (char *)word;
	return 0;
}

static const struct cmdline_option options[] = {
	{ "base", 'b', "FILE",
		"image, each: what the disk held when the recording began: a file or block device of\n"
		"its size, which is only read.",
		set_base, NULL },
	{ "empty", 0, NULL, "Instead of --base: it held zeroes.", set_empty, NULL },
	{ "at", 0, "MOMENT",
		"When the power goes. end: after all that is recorded. flush:N: right after flush N, from\n"
		"1, was answered. entry:N: after N entries. Default: end; each: any moment, drawn.",
		set_at, NULL },
	{ "crash", 0, "STATE",
		"image: what of the writes that nobody had flushed has reached the disk. none. all.\n"
		"seed:N: a part, drawn. enumerate:N: state N from 0, of as many as count tells.\n"
		"Default: none.",
		set_crash, NULL },
	{ "torn", 0, "BYTES",
		"512 or 4096: of such a write, some sectors of this size may be there and some not.\n"
		"Default: it is there or not as a whole.",
		set_torn, NULL },
	{ "output", 'o', "FILE", "image, each: where the image is written, over whatever is there.",
		set_output, NULL },
	{ "count", 'n', "N", "each: how many states are checked. Default: 100.", set_count, NULL },
	{ "seed", 0, "N", "each: the first state's seed; the next one's is one more. Default: 0.", set_seed,
		NULL },
	{ "from", 0, "MOMENT", "each: no power cut before this moment. Default: entry:0.", set_from, NULL },
	{ "keep-going", 'k', NULL, "each: check all states, also when one has failed.", set_keep_going,
		NULL },
	{ "json", 0, NULL, "list: a JSON object a line.", set_json, NULL },
	{ 0 },
};

static const struct cmdline cmdline = {
	.program = "vnbd-replay",
	.synopsis = "info RECORD\nlist [--json] RECORD\ncount [--at MOMENT] [--torn BYTES] RECORD\n"
		    "image {--base FILE|--empty} [OPTION]... --output FILE RECORD\n"
		    "each {--base FILE|--empty} [OPTION]... --output FILE RECORD -- PROGRAM [ARGUMENT]...",
	.purpose =
		"Build what a disk may hold after a power cut, from a record of vnbd-server (record=FILE).\n"
		"each runs PROGRAM, with the image's path as its last argument, for one such state after\n"
		"the other, until it fails.",
	.options = options,
	.word = take_word,
	.epilogue = "Example: vnbd-replay each --empty --count 500 -o disk.img vm.record -- e2fsck -fy\n"
		    "The manual, vnbd-replay(8), tells which states there are.",
};

static void check_settings(const struct settings *settings)
{
	const struct replay *replay = &settings->replay;

	if (!settings->command)
		cmdline_fail(&cmdline, "a command is missing: info, list, count, image or each");
	if (!replay->record)
		cmdline_fail(&cmdline, "the record is missing");
	if (settings->command->makes_image && !replay->output)
		cmdline_fail(&cmdline, "--output is missing");
	if (settings->command->makes_image && !replay->base == !replay->empty)
		cmdline_fail(&cmdline, "either --base or --empty is needed");
	if (settings->command->runs_program && !replay->program_count)
		cmdline_fail(&cmdline, "the program is missing: -- PROGRAM");
	if (settings->command->runs_program && replay->choice_given)
		cmdline_fail(&cmdline, "--crash is for image; each draws states from --seed");
}

int replay_moment(const struct replay_at *at, const struct history *history, uint64_t *out)
{
	*out = history->entries;
	if (at->place == REPLAY_END)
		return 0;
	if (at->place == REPLAY_ENTRY) {
		*out = at->number;
		if (at->number <= history->entries)
			return 0;
		log_error("entry:%" PRIu64 ": there are %" PRIu64 " entries", at->number, history->entries);
		return -1;
	}
	if (at->number == 0 || at->number > history->flush_count) {
		log_error("flush:%" PRIu64 ": %zu flushes were answered, and they count from 1", at->number,
			history->flush_count);
		return -1;
	}
	*out = history->flushes[at->number - 1] + 1;
	return 0;
}

static int run(const struct settings *settings)
{
	struct history history;
	char why[CMDLINE_WHY_SIZE];
	int status;

	if (history_load(&history, settings->replay.record, why, sizeof(why))) {
		log_error("%s", why);
		return REPLAY_FAILED;
	}
	if (history.reader.is_cut)
		log_warning("%s: ends in the middle of entry %" PRIu64 ", which is left out",
			settings->replay.record, history.entries);
	status = settings->command->run(&settings->replay, &history);
	history_free(&history);
	return status;
}

int main(int argc, char **argv)
{
	struct settings settings = { .replay = { .count = COUNT_DEFAULT } };
	int status;

	log_open(cmdline.program, LOG_INFO);
	/* An image may not be as long as the operator's limit allows: an error like others. */
	signal(SIGXFSZ, SIG_IGN);
	settings.replay.program = calloc((size_t)argc + 1, sizeof(char *));
	if (!settings.replay.program) {
		log_error("out of memory");
		return EXIT_FAILURE;
	}
	cmdline_parse(&cmdline, argc, argv, &settings);
	check_settings(&settings);
	status = run(&settings);
	free(settings.replay.program);
	if (fflush(stdout) || ferror(stdout)) {
		log_error("standard output cannot be written to");
		return EXIT_FAILURE;
	}
	return status;
}
