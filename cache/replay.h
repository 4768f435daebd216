/* cache/replay.h -- what vnbd-replay is told, and its commands. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cache/crash.h"
#include "cache/history.h"

enum replay_place { REPLAY_END, REPLAY_FLUSH, REPLAY_ENTRY };

/* A moment, as an operator names it. */
struct replay_at {
	enum replay_place place;
	uint64_t number; /* of the flush, from 1, which is the moment after it; or of entries */
	bool given;
};

struct replay {
	const char *record; /* borrowed, like all strings here: the command line */
	const char *base;   /* NULL: zeroes */
	const char *output;
	bool empty;
	struct replay_at at, from;
	struct crash_choice choice;
	bool choice_given;
	uint64_t seed, count;
	bool keep_going, json;
	char **program; /* owned; ends with NULL; of each */
	unsigned program_count;
};

/* Exit statuses. A command line that cannot be obeyed: CMDLINE_USAGE_EXIT. */
enum {
	REPLAY_OK = 0,
	REPLAY_FAILED = 1, /* the log tells why */
	REPLAY_FOUND = 3,  /* each: the program failed at a state */
};

/* A command: what it does with a record. Returns an exit status. */
int replay_info(const struct replay *replay, struct history *history);
int replay_list(const struct replay *replay, struct history *history);
int replay_count(const struct replay *replay, struct history *history);
int replay_image(const struct replay *replay, struct history *history);
int replay_each(const struct replay *replay, struct history *history);

/* replay_moment() - the entry that @at means. Returns 0, or -1 and the log tells what is wrong. */
int replay_moment(const struct replay_at *at, const struct history *history, uint64_t *out);
