/* server/fault_words.h -- the rows of server/fault_words.def as enums and tables. */
#pragma once

#include <stdbool.h>

#include "server/fault_value.h"

/* Bits. */
enum fault_operation {
#define FAULT_OPERATION(name, word) FAULT_AT_##name,
#include "server/fault_words.def"
#undef FAULT_OPERATION
	FAULT_OPERATIONS,
#define FAULT_OPERATION(name, word) FAULT_ON_##name = 1 << FAULT_AT_##name,
#include "server/fault_words.def"
#undef FAULT_OPERATION
};

/* What a connection does before it has an export: a rule is about these, or about requests. */
#define FAULT_ON_CLIENTS  (FAULT_ON_accept | FAULT_ON_handshake)
#define FAULT_ON_REQUESTS ((1u << FAULT_OPERATIONS) - 1 - FAULT_ON_CLIENTS)
#define FAULT_ON_CHANGES  (FAULT_ON_write | FAULT_ON_trim | FAULT_ON_zero)

enum fault_condition {
#define FAULT_CONDITION(name, word, argument, limits) FAULT_IF_##name,
#include "server/fault_words.def"
#undef FAULT_CONDITION
	FAULT_CONDITIONS,
};

enum fault_action {
#define FAULT_ACTION(name, words, first, second, place, operations) FAULT_DO_##name,
#include "server/fault_words.def"
#undef FAULT_ACTION
	FAULT_ACTIONS,
	FAULT_DO_NOTHING = FAULT_ACTIONS,
};

enum fault_place { FAULT_PLACE_TIME, FAULT_PLACE_DATA, FAULT_PLACE_REPLY, FAULT_PLACES };

#define FAULT_ARGUMENTS 2

/* Words for several operations, beside those that are one each. */
enum { FAULT_GROUPS = 2 };
struct fault_operations_row {
	const char *word;
	unsigned operations;
};
struct fault_condition_row {
	const char *word;
	enum fault_value argument;
	bool limits;
};
struct fault_action_row {
	const char *words;
	enum fault_value arguments[FAULT_ARGUMENTS];
	enum fault_place place;
	unsigned operations;
};

extern const struct fault_operations_row fault_operations[FAULT_OPERATIONS + FAULT_GROUPS];
extern const struct fault_condition_row fault_conditions[FAULT_CONDITIONS];
extern const struct fault_action_row fault_actions[FAULT_ACTIONS];
