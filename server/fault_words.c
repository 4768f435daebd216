/* server/fault_words.c -- the tables. */
#include "server/fault_words.h"

const struct fault_operations_row fault_operations[FAULT_OPERATIONS + FAULT_GROUPS] = {
#define FAULT_OPERATION(name, word) { word, FAULT_ON_##name },
#include "server/fault_words.def"
#undef FAULT_OPERATION
	{ "data", FAULT_ON_read | FAULT_ON_write },
	{ "any", FAULT_ON_REQUESTS },
};

const struct fault_condition_row fault_conditions[FAULT_CONDITIONS] = {
#define FAULT_CONDITION(name, word, argument, limits) \
	[FAULT_IF_##name] = { word, FAULT_VALUE_##argument, limits },
#include "server/fault_words.def"
#undef FAULT_CONDITION
};

const struct fault_action_row fault_actions[FAULT_ACTIONS] = {
#define BIT(name) FAULT_ON_##name
#define FAULT_ACTION(name, words, first, second, place, operations)                                      \
	[FAULT_DO_##name] = { words, { FAULT_VALUE_##first, FAULT_VALUE_##second }, FAULT_PLACE_##place, \
		operations },
#include "server/fault_words.def"
#undef FAULT_ACTION
#undef BIT
};
