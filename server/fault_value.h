/* server/fault_value.h -- one value in a fault rule, from text to a number and back: what is printed reads as the same
 * number.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum fault_value {
#define FAULT_VALUE(name, sign, words) FAULT_VALUE_##name,
#include "server/fault_value.def"
#undef FAULT_VALUE
	FAULT_VALUES,
};

/* Parts are counted in billionths. */
#define FAULT_PART_ONE 1000000000u

/* Longest text of a number. */
#define FAULT_NUMBER_SIZE 32

/* How messages and the manual call it, and what it may be. */
const char *fault_value_sign(enum fault_value kind);
const char *fault_value_words(enum fault_value kind);

/* fault_value_parse() - @text as a value of @kind, which is not TEXT: a count, bytes, nanoseconds, billionths, an errno, or an
 * enum nbd_option_error.
 * Returns 0, or -EINVAL where it is none, or out of range. */
int fault_value_parse(enum fault_value kind, const char *text, uint64_t *out);

/* The shortest text for a value that was parsed. Returns @out. */
const char *fault_value_print(enum fault_value kind, uint64_t value, char out[FAULT_NUMBER_SIZE]);
