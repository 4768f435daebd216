/* conf/ctl_show.c -- JSON to columns and sentences. */
#include "conf/ctl_show.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/size.h"

/* -- one value ---------------------------------------------------------------------------------------------------- */

/* C0, DEL, and C1 in UTF-8. */
static bool is_control(const unsigned char *at)
{
	return at[0] < 0x20 || at[0] == 0x7f || (at[0] == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0);
}

char *ctl_text(const char *text)
{
	char *out = malloc(4 * strlen(text) + 1), *to = out;

	for (const unsigned char *at = (const unsigned char *)text; out && *at; at++) {
		if (is_control(at))
			to += sprintf(to, "\\x%02x", *at == 0xc2 ? *++at : *at);
		else
			*to++ = (char)*at;
	}
	if (out)
		*to = '\0';
	return out;
}

static char *time_text(json_int_t seconds)
{
	char out[64] = "?";
	time_t since = (time_t)seconds;
	struct tm local;

	if (localtime_r(&since, &local))
		strftime(out, sizeof(out), "%Y-%m-%d %H:%M:%S", &local);
	return strdup(out);
}

static char *integer_text(json_int_t integer, enum ctl_format format)
{
	char out[64];

	if (format == CTL_TIME)
		return time_text(integer);
	if (format == CTL_BYTES && integer >= 0)
		return strdup(size_text((uint64_t)integer, out, sizeof(out)));
	snprintf(out, sizeof(out), "%" JSON_INTEGER_FORMAT, integer);
	return strdup(out);
}

static char *real_text(double real)
{
	char out[64];

	snprintf(out, sizeof(out), "%g", real);
	return strdup(out);
}

/* The caller's to free(); NULL: out of memory. */
static char *value_text(const json_t *value, enum ctl_format format)
{
	if (!value || json_is_null(value))
		return strdup("-");
	if (json_is_string(value))
		return ctl_text(json_string_value(value));
	if (json_is_integer(value))
		return integer_text(json_integer_value(value), format);
	if (json_is_real(value))
		return real_text(json_real_value(value));
	if (json_is_boolean(value))
		return strdup(json_is_true(value) ? "yes" : "no");
	return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
}

/* -- a table ------------------------------------------------------------------------------------------------------ */

struct table {
	const struct ctl_column *columns;
	size_t column_count, row_count;
	char **cells; /* owned, as is each; row by row, of which the first has the titles */
	size_t widths[CTL_COLUMNS_MAX];
	bool right[CTL_COLUMNS_MAX];
};

/* In characters, whatever their width. */
static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static void set_cell(struct table *table, size_t row, size_t column, char *text)
{
	size_t width;

	table->cells[row * table->column_count + column] = text;
	width = text ? width_of(text) : 0;
	if (width > table->widths[column])
		table->widths[column] = width;
}

static void set_cells(struct table *table, const json_t *array)
{
	for (size_t column = 0; column < table->column_count; column++) {
		const struct ctl_column *shown = &table->columns[column];

		set_cell(table, 0, column, strdup(shown->title));
		for (size_t row = 1; row < table->row_count; row++) {
			const json_t *value = json_object_get(json_array_get(array, row - 1), shown->key);

			table->right[column] |= json_is_integer(value) && shown->format != CTL_TIME;
			set_cell(table, row, column, value_text(value, shown->format));
		}
	}
}

static void print_cell(FILE *out, const struct table *table, size_t row, size_t column)
{
	const char *text = table->cells[row * table->column_count + column];
	int space = (int)(table->widths[column] - (text ? width_of(text) : 0));
	bool last = column + 1 == table->column_count;

	fprintf(out, "%*s%s%*s%s", table->right[column] ? space : 0, "", text ? text : "",
		table->right[column] || last ? 0 : space, "", last ? "\n" : "  ");
}

static void show_table(FILE *out, const struct ctl_column *columns, size_t count, const json_t *array)
{
	struct table table = {
		.columns = columns, .column_count = count, .row_count = json_array_size(array) + 1
	};
	size_t cells = table.row_count * count;

	if (count == 0)
		return;
	table.cells = calloc(cells, sizeof(table.cells[0]));
	if (!table.cells)
		return;
	set_cells(&table, array);
	for (size_t row = 0; row < table.row_count; row++)
		for (size_t column = 0; column < count; column++)
			print_cell(out, &table, row, column);
	for (size_t i = 0; i < cells; i++)
		free(table.cells[i]);
	free(table.cells);
}

/* Those of the layout, or the keys of the first row. Returns how many. */
static size_t choose_columns(
	const struct ctl_layout *layout, const json_t *array, struct ctl_column out[CTL_COLUMNS_MAX])
{
	size_t count = 0;
	const char *key;
	json_t *value;

	for (; count < CTL_COLUMNS_MAX && layout->columns[count].key; count++)
		out[count] = layout->columns[count];
	if (count > 0)
		return count;
	json_object_foreach(json_array_get(array, 0), key, value)
	{
		if (count < CTL_COLUMNS_MAX)
			out[count++] = (struct ctl_column){ key, key, CTL_PLAIN };
	}
	return count;
}

/* -- all of it ---------------------------------------------------------------------------------------------------- */

static void show_value(FILE *out, const json_t *value)
{
	char *text = value_text(value, CTL_PLAIN);

	fputs(text ? text : "?", out);
	free(text);
}

static void show_sentence(FILE *out, const char *sentence, const json_t *object)
{
	char key[32];

	for (const char *at = sentence; *at; at++) {
		size_t length = *at == '{' ? strcspn(at + 1, "}") : 0;

		if (length == 0 || length >= sizeof(key)) {
			fputc(*at, out);
			continue;
		}
		memcpy(key, at + 1, length);
		key[length] = '\0';
		show_value(out, json_object_get(object, key));
		at += length + 1;
	}
	fputc('\n', out);
}

static void show_lines(FILE *out, const json_t *object)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)object, key, value)
	{
		fprintf(out, "%s: ", key);
		show_value(out, value);
		fputc('\n', out);
	}
}

void ctl_show(FILE *out, const struct ctl_layout *layout, const json_t *result)
{
	struct ctl_column columns[CTL_COLUMNS_MAX];
	size_t count;

	if (json_is_object(json_array_get(result, 0)) ||
		(json_is_array(result) && json_array_size(result) == 0)) {
		count = choose_columns(layout, result, columns);
		show_table(out, columns, count, result);
	} else if (json_is_object(result)) {
		if (layout->sentence)
			show_sentence(out, layout->sentence, result);
		else
			show_lines(out, result);
	} else {
		show_value(out, result);
		fputc('\n', out);
	}
}
