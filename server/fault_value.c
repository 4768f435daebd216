/* server/fault_value.c -- a table: how each kind is read and printed. */
#include "server/fault_value.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/size.h"
#include "server/limits.h"
#include "server/nbd_wire.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Units, smallest first. */
struct unit {
	const char *name;
	uint64_t size;
};

static const struct unit time_units[] = {
	{ "ns", 1 },
	{ "us", 1000 },
	{ "ms", UINT64_C(1000000) },
	{ "s", UINT64_C(1000000000) },
	{ "m", UINT64_C(60) * 1000000000 },
	{ "h", UINT64_C(3600) * 1000000000 },
};
static const struct unit size_units[] = {
	{ "", 1 },
	{ "K", UINT64_C(1) << 10 },
	{ "M", UINT64_C(1) << 20 },
	{ "G", UINT64_C(1) << 30 },
	{ "T", UINT64_C(1) << 40 },
};

struct named {
	const char *name;
	unsigned number;
};

static const struct named errors[] = {
	{ "EPERM", EPERM },
	{ "EIO", EIO },
	{ "ENOMEM", ENOMEM },
	{ "EINVAL", EINVAL },
	{ "ENOSPC", ENOSPC },
	{ "EOVERFLOW", EOVERFLOW },
	{ "ENOTSUP", ENOTSUP },
	{ "ESHUTDOWN", ESHUTDOWN },
};
static const struct named refusals[] = {
	{ "UNSUP", NBD_REP_ERR_UNSUP },
	{ "POLICY", NBD_REP_ERR_POLICY },
	{ "INVALID", NBD_REP_ERR_INVALID },
	{ "PLATFORM", NBD_REP_ERR_PLATFORM },
	{ "TLS_REQD", NBD_REP_ERR_TLS_REQD },
	{ "UNKNOWN", NBD_REP_ERR_UNKNOWN },
	{ "SHUTDOWN", NBD_REP_ERR_SHUTDOWN },
	{ "BLOCK_SIZE_REQD", NBD_REP_ERR_BLOCK_SIZE_REQD },
	{ "TOO_BIG", NBD_REP_ERR_TOO_BIG },
	{ "EXT_HEADER_REQD", NBD_REP_ERR_EXT_HEADER_REQD },
};

static int parse_number(const char *text, uint64_t *out)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno || *end ? -EINVAL : 0;
}

static int parse_count(const char *text, uint64_t *out)
{
	int error = parse_number(text, out);

	return error || *out == 0 ? -EINVAL : 0;
}

/* Far above an hour in nanoseconds, which is the largest that has a meaning, and small enough to count billionths of. */
#define WHOLE_MAX (UINT64_C(1) << 50)

/* Digits, and up to nine behind a point, in billionths; @end gets what follows. */
static int parse_decimal(const char *text, const char **end, unsigned __int128 *out)
{
	uint64_t whole = 0, part = 0, unit = FAULT_PART_ONE;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	for (; isdigit((unsigned char)*text); text++) {
		whole = 10 * whole + (uint64_t)(*text - '0');
		if (whole > WHOLE_MAX)
			return -EINVAL;
	}
	if (*text == '.') {
		for (text++; isdigit((unsigned char)*text) && unit > 1; text++) {
			unit /= 10;
			part += unit * (uint64_t)(*text - '0');
		}
		if (unit == FAULT_PART_ONE)
			return -EINVAL;
	}
	*end = text;
	*out = (unsigned __int128)whole * FAULT_PART_ONE + part;
	return 0;
}

static int parse_time(const char *text, uint64_t *out)
{
	uint64_t most = UINT64_C(1000000000) * FAULT_TIME_MAX_S;
	unsigned __int128 number;
	const char *unit;

	if (parse_decimal(text, &unit, &number))
		return -EINVAL;
	for (size_t i = 0; i < COUNT_OF(time_units); i++) {
		if (strcmp(unit, time_units[i].name) != 0)
			continue;
		number = number * time_units[i].size / FAULT_PART_ONE;
		*out = (uint64_t)number;
		return number > 0 && number <= most ? 0 : -EINVAL;
	}
	return -EINVAL;
}

static int parse_size(const char *text, uint64_t *out)
{
	return size_parse(text, out) || *out == 0 ? -EINVAL : 0;
}

static int parse_sector(const char *text, uint64_t *out)
{
	if (size_parse(text, out) || *out < 512 || *out > 64 << 10 || *out & (*out - 1))
		return -EINVAL;
	return 0;
}

static int parse_part_any(const char *text, uint64_t *out)
{
	unsigned __int128 number;
	const char *end;

	if (parse_decimal(text, &end, &number) || *end || number == 0 || number > UINT64_MAX)
		return -EINVAL;
	*out = (uint64_t)number;
	return 0;
}

static int parse_part(const char *text, uint64_t *out)
{
	return parse_part_any(text, out) || *out > FAULT_PART_ONE ? -EINVAL : 0;
}

static int parse_named(const struct named *rows, size_t count, const char *text, uint64_t *out)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(text, rows[i].name) != 0)
			continue;
		*out = rows[i].number;
		return 0;
	}
	return -EINVAL;
}

static int parse_error(const char *text, uint64_t *out)
{
	return parse_named(errors, COUNT_OF(errors), text, out);
}

static int parse_refusal(const char *text, uint64_t *out)
{
	return parse_named(refusals, COUNT_OF(refusals), text, out);
}

static void print_number(uint64_t value, char *out)
{
	snprintf(out, FAULT_NUMBER_SIZE, "%" PRIu64, value);
}

/* In the largest unit that divides it. */
static void print_in(const struct unit *units, size_t count, uint64_t value, char *out)
{
	size_t i = count - 1;

	while (i > 0 && (value == 0 || value % units[i].size != 0))
		i--;
	snprintf(out, FAULT_NUMBER_SIZE, "%" PRIu64 "%s", value / units[i].size, units[i].name);
}

static void print_time(uint64_t value, char *out)
{
	print_in(time_units, COUNT_OF(time_units), value, out);
}

static void print_size(uint64_t value, char *out)
{
	print_in(size_units, COUNT_OF(size_units), value, out);
}

static void print_part(uint64_t value, char *out)
{
	int length = snprintf(out, FAULT_NUMBER_SIZE, "%" PRIu64 ".%09" PRIu64, value / FAULT_PART_ONE,
		value % FAULT_PART_ONE);

	while (out[length - 1] == '0')
		out[--length] = '\0';
	if (out[length - 1] == '.')
		out[length - 1] = '\0';
}

static void print_named(const struct named *rows, size_t count, uint64_t value, char *out)
{
	for (size_t i = 0; i < count; i++)
		if (rows[i].number == value)
			snprintf(out, FAULT_NUMBER_SIZE, "%s", rows[i].name);
}

static void print_error(uint64_t value, char *out)
{
	print_named(errors, COUNT_OF(errors), value, out);
}

static void print_refusal(uint64_t value, char *out)
{
	print_named(refusals, COUNT_OF(refusals), value, out);
}

static const struct {
	int (*parse)(const char *text, uint64_t *out);
	void (*print)(uint64_t value, char *out);
} kinds[FAULT_VALUES] = {
	[FAULT_VALUE_COUNT] = { parse_count, print_number },
	[FAULT_VALUE_NUMBER] = { parse_number, print_number },
	[FAULT_VALUE_TIME] = { parse_time, print_time },
	[FAULT_VALUE_SIZE] = { parse_size, print_size },
	[FAULT_VALUE_SECTOR] = { parse_sector, print_size },
	[FAULT_VALUE_PART] = { parse_part, print_part },
	[FAULT_VALUE_PART_ANY] = { parse_part_any, print_part },
	[FAULT_VALUE_ERROR] = { parse_error, print_error },
	[FAULT_VALUE_REFUSAL] = { parse_refusal, print_refusal },
};

static const struct {
	const char *sign, *words;
} rows[FAULT_VALUES] = {
#define FAULT_VALUE(name, sign, words) [FAULT_VALUE_##name] = { sign, words },
#include "server/fault_value.def"
#undef FAULT_VALUE
};

const char *fault_value_sign(enum fault_value kind)
{
	return rows[kind].sign;
}

const char *fault_value_words(enum fault_value kind)
{
	return rows[kind].words;
}

int fault_value_parse(enum fault_value kind, const char *text, uint64_t *out)
{
	return kinds[kind].parse ? kinds[kind].parse(text, out) : -EINVAL;
}

const char *fault_value_print(enum fault_value kind, uint64_t value, char out[FAULT_NUMBER_SIZE])
{
	out[0] = '\0';
	if (kinds[kind].print)
		kinds[kind].print(value, out);
	return out;
}
