/* conf/control_take.c -- the arguments of a call, row by row. */
#include <stdio.h>
#include <string.h>

#include "conf/control.h"
#include "conf/control_line.h"
#include "conf/log.h"

static const char *const kind_names[] = {
	[CONTROL_TEXT] = "text",
	[CONTROL_NUMBER] = "a number from 0 on",
	[CONTROL_SECONDS] = "a number of seconds from 0 on",
	[CONTROL_FLAG] = "true or false",
};

/* Returns whether @value is of that kind. */
static bool store(const json_t *value, const struct control_argument *row, void *out)
{
	void *field = (char *)out + row->offset;

	switch (row->kind) {
	case CONTROL_TEXT:
		if (json_is_string(value))
			*(const char **)field = json_string_value(value);
		return json_is_string(value);
	case CONTROL_NUMBER:
		if (!json_is_integer(value) || json_integer_value(value) < 0)
			return false;
		*(uint64_t *)field = (uint64_t)json_integer_value(value);
		return true;
	case CONTROL_SECONDS:
		if (!json_is_number(value) || json_number_value(value) < 0)
			return false;
		*(double *)field = json_number_value(value);
		return true;
	case CONTROL_FLAG:
		if (json_is_boolean(value))
			*(bool *)field = json_is_true(value);
		return json_is_boolean(value);
	}
	return false;
}

static bool is_known(const char *key, const struct control_argument *rows)
{
	for (const struct control_argument *row = rows; row && row->name; row++)
		if (strcmp(row->name, key) == 0)
			return true;
	return false;
}

static const char *unknown_key(const json_t *arguments, const struct control_argument *rows)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)arguments, key, value)
	{
		if (!is_known(key, rows))
			return key;
	}
	return NULL;
}

static const char *list_names(const struct control_argument *rows, char *out, size_t out_size)
{
	size_t used = 0;

	snprintf(out, out_size, "none");
	for (const struct control_argument *row = rows; row && row->name && used < out_size; row++)
		used += (size_t)snprintf(
			out + used, out_size - used, "%s%s", used > 0 ? ", " : "", row->name);
	return out;
}

bool control_take(
	struct control_call *call, const json_t *arguments, const struct control_argument *rows, void *out)
{
	const char *unknown = unknown_key(arguments, rows);
	char shown[64], known[CONTROL_WHY_SIZE / 2];

	if (unknown) {
		control_refuse(call, "unknown argument '%s'; known: %s",
			log_quote(shown, sizeof(shown), unknown, strlen(unknown)),
			list_names(rows, known, sizeof(known)));
		return false;
	}
	for (const struct control_argument *row = rows; row && row->name; row++) {
		const json_t *value = json_object_get(arguments, row->name);

		if (value ? store(value, row, out) : !row->needed)
			continue;
		if (value)
			control_refuse(call, "argument '%s' is not %s", row->name, kind_names[row->kind]);
		else
			control_refuse(call, "argument '%s' is missing", row->name);
		return false;
	}
	return true;
}
