/* server/export_spec.c -- splits an export's description at its single commas, and a table of keys does the rest. */
#include "server/export_spec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/volatile.h"
#include "conf/size.h"
#include "conf/utf8.h"
#include "server/fault_rule.h"
#include "server/nbd_wire.h"

struct why {
	char *text;
	size_t size;
};

#define REFUSE(why, ...) (snprintf((why)->text, (why)->size, __VA_ARGS__), -EINVAL)

static int set_cache(struct export_spec *spec, const char *value, const struct why *why)
{
	int mode = cache_mode_named(value);
	char known[128] = "";

	if (mode >= 0) {
		spec->mode = (enum cache_mode)mode;
		return 0;
	}
	for (int i = 0; i < CACHE_MODES; i++) {
		size_t used = strlen(known);

		snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "",
			cache_mode_name((enum cache_mode)i));
	}
	return REFUSE(why, "unknown cache mode '%s'; known: %s", value, known);
}

static int set_readonly(struct export_spec *spec, const char *value, const struct why *why)
{
	(void)value;
	(void)why;
	spec->readonly = true;
	return 0;
}

static int set_overlay(struct export_spec *spec, const char *value, const struct why *why)
{
	if (!*value)
		return REFUSE(why, "'overlay' needs a file, or 'temporary'");
	spec->has_overlay = true;
	if (strcmp(value, "temporary") == 0)
		return 0;
	spec->overlay = strdup(value);
	return spec->overlay ? 0 : -ENOMEM;
}

static int set_record(struct export_spec *spec, const char *value, const struct why *why)
{
	if (!*value)
		return REFUSE(why, "'record' needs a file");
	spec->record = strdup(value);
	return spec->record ? 0 : -ENOMEM;
}

static int set_volatile(struct export_spec *spec, const char *value, const struct why *why)
{
	if (strcmp(value, "on") == 0) {
		spec->volatile_bytes = VOLATILE_BYTES_DEFAULT;
		return 0;
	}
	if (size_parse(value, &spec->volatile_bytes) || spec->volatile_bytes < VOLATILE_BYTES_LEAST ||
		spec->volatile_bytes > VOLATILE_BYTES_MOST)
		return REFUSE(why, "'volatile' is 'on', or a size from %uK to %uM: '%s'",
			VOLATILE_BYTES_LEAST >> 10, VOLATILE_BYTES_MOST >> 20, value);
	return 0;
}

static int set_description(struct export_spec *spec, const char *value, const struct why *why)
{
	if (strlen(value) > NBD_STRING_MAX)
		return REFUSE(why, "the description is longer than %d bytes", NBD_STRING_MAX);
	if (!utf8_is_text(value, strlen(value)))
		return REFUSE(why, "the description is not UTF-8");
	spec->description = strdup(value);
	return spec->description ? 0 : -ENOMEM;
}

static int set_tls(struct export_spec *spec, const char *value, const struct why *why)
{
	(void)value;
	(void)why;
	spec->access.tls = true;
	return 0;
}

static int allow(struct export_spec *spec, enum access_kind kind, const char *value, const struct why *why)
{
	static const char *const wanted[] = {
		[ACCESS_ADDRESS] = "an address, ADDRESS/BITS or 'unix'",
		[ACCESS_NAME] = "a name",
		[ACCESS_SUBJECT] = "a subject",
		[ACCESS_PSK] = "a user",
	};
	int error = access_add(&spec->access, kind, value);

	return error == -EINVAL ? REFUSE(why, "'%s' is not %s", value, wanted[kind]) : error;
}

static int set_allow_address(struct export_spec *spec, const char *value, const struct why *why)
{
	return allow(spec, ACCESS_ADDRESS, value, why);
}

static int set_allow_cert(struct export_spec *spec, const char *value, const struct why *why)
{
	return allow(spec, ACCESS_NAME, value, why);
}

static int set_allow_subject(struct export_spec *spec, const char *value, const struct why *why)
{
	return allow(spec, ACCESS_SUBJECT, value, why);
}

static int set_allow_psk(struct export_spec *spec, const char *value, const struct why *why)
{
	return allow(spec, ACCESS_PSK, value, why);
}

static int set_fault(struct export_spec *spec, const char *value, const struct why *why)
{
	char **more, reason[1024];
	struct fault_rule rule;

	if (fault_rule_parse(value, FAULT_ON_REQUESTS, &rule, reason, sizeof(reason)))
		return REFUSE(why, "fault rule: %s", reason);
	fault_rule_fini(&rule);
	more = realloc(spec->faults, (spec->fault_count + 1) * sizeof(char *));
	if (!more)
		return -ENOMEM;
	spec->faults = more;
	more[spec->fault_count] = strdup(value);
	return more[spec->fault_count++] ? 0 : -ENOMEM;
}

enum { KEYS = 12 };
static const struct {
	const char *name;
	bool has_value, repeats;
	bool is_for_files; /* alone */
	int (*set)(struct export_spec *spec, const char *value, const struct why *why);
} keys[KEYS] = {
	{ "cache", true, false, true, set_cache },
	{ "readonly", false, false, true, set_readonly },
	{ "overlay", true, false, true, set_overlay },
	{ "volatile", true, false, false, set_volatile },
	{ "record", true, false, false, set_record },
	{ "description", true, false, false, set_description },
	{ "tls", false, false, false, set_tls },
	{ "allow-address", true, true, false, set_allow_address },
	{ "allow-cert", true, true, false, set_allow_cert },
	{ "allow-subject", true, true, false, set_allow_subject },
	{ "allow-psk", true, true, false, set_allow_psk },
	{ "fault", true, true, false, set_fault },
};
static const char known_keys[] =
	"cache=MODE, readonly, overlay=FILE, volatile=on, record=FILE, description=TEXT, tls, "
	"allow-address=RANGE, allow-cert=NAME, allow-subject=DN, allow-psk=USER, fault=RULE";

/* Returns the row of @key, or KEYS. */
static unsigned row_of(const char *key)
{
	unsigned row = 0;

	while (row < KEYS && strcmp(key, keys[row].name) != 0)
		row++;
	return row;
}

static int set_key(struct export_spec *spec, const char *key, const char *value, const struct why *why)
{
	unsigned row = row_of(key);

	if (row == KEYS)
		return REFUSE(why, "unknown key '%s'; known: %s", key, known_keys);
	if (spec->keys_told & 1u << row && !keys[row].repeats)
		return REFUSE(why, "'%s' is given twice", key);
	spec->keys_told |= 1u << row;
	if (keys[row].has_value && !value)
		return REFUSE(why, "'%s' needs a value", key);
	if (!keys[row].has_value && value)
		return REFUSE(why, "'%s' takes no value", key);
	return keys[row].set(spec, value, why);
}

static int set_field(struct export_spec *spec, char *field, const struct why *why)
{
	char *value = strchr(field, '=');

	if (value)
		*value++ = '\0';
	if (row_of(field) == KEYS)
		return REFUSE(why, "unknown key '%s'; known: %s (a comma in a path is written ',,')", field,
			known_keys);
	return set_key(spec, field, value, why);
}

static int set_memory(struct export_spec *spec, const struct why *why)
{
	static const char prefix[] = "memory:";
	int error;

	if (strncmp(spec->path, prefix, sizeof(prefix) - 1) != 0)
		return 0;
	error = size_parse(spec->path + sizeof(prefix) - 1, &spec->memory_size);
	if (error == -ERANGE)
		return REFUSE(why, "'%s' is too large", spec->path);
	if (error || spec->memory_size == 0)
		return REFUSE(why,
			"not memory:SIZE, with bytes or K, M, G, T: '%s' (a file of that name is ./%s)",
			spec->path, spec->path);
	return 0;
}

/* Ends the field that starts at @field at its first single comma and makes each double one single.
 * Returns the next field, or NULL. */
static char *split_field(char *field)
{
	char *to = field;

	for (char *from = field; *from; from++) {
		if (*from == ',') {
			if (from[1] != ',') {
				*to = '\0';
				return from + 1;
			}
			from++;
		}
		*to++ = *from;
	}
	*to = '\0';
	return NULL;
}

static int set_name(struct export_spec *spec, const char *name, const struct why *why)
{
	if (strlen(name) > NBD_STRING_MAX)
		return REFUSE(why, "the name is longer than %d bytes", NBD_STRING_MAX);
	spec->name = strdup(name);
	return spec->name ? 0 : -ENOMEM;
}

static int set_place(struct export_spec *spec, const char *path, const struct why *why)
{
	if (!*path)
		return REFUSE(why, "the path is empty");
	spec->path = strdup(path);
	if (!spec->path)
		return -ENOMEM;
	return spec->is_folder ? 0 : set_memory(spec, why);
}

/* What fits together, once all is there. */
static int finish(const struct export_spec *spec, const struct why *why)
{
	for (unsigned row = 0; row < KEYS; row++)
		if (spec->memory_size && spec->keys_told & 1u << row && keys[row].is_for_files)
			return REFUSE(why, "'%s' is not for memory", keys[row].name);
	if (spec->has_overlay && spec->is_folder)
		return REFUSE(why, "'overlay' is not for directories");
	if (spec->record && spec->is_folder)
		return REFUSE(why, "'record' is not for directories");
	if (spec->has_overlay && spec->readonly)
		return REFUSE(why, "'overlay' takes writes, 'readonly' does not");
	if (spec->volatile_bytes && spec->is_folder)
		return REFUSE(why, "'volatile' is not for directories");
	if (spec->volatile_bytes && spec->readonly)
		return REFUSE(why, "'volatile' holds writes, and 'readonly' takes none");
	return 0;
}

/* @path and what follows it. */
static int set_path(struct export_spec *spec, char *path, const struct why *why)
{
	char *next = split_field(path);
	int error = set_place(spec, path, why);

	while (next && !error) {
		char *field = next;

		next = split_field(field);
		error = set_field(spec, field, why);
	}
	return error ? error : finish(spec, why);
}

static int set_named(struct export_spec *spec, char *text, const struct why *why)
{
	char *path = strchr(text, '=');
	int error;

	if (!path)
		return REFUSE(why, "not NAME=PATH");
	*path++ = '\0';
	error = set_name(spec, text, why);
	return error ? error : set_path(spec, path, why);
}

static int set_folder(struct export_spec *spec, char *text, const struct why *why)
{
	int error = set_name(spec, "", why);

	spec->is_folder = true;
	return error ? error : set_path(spec, text, why);
}

static int parse(const char *text, int (*set)(struct export_spec *, char *, const struct why *),
	struct export_spec *spec, char *why, size_t why_size)
{
	char *copy = strdup(text);
	int error;

	*spec = (struct export_spec){ .mode = CACHE_writeback };
	snprintf(why, why_size, "out of memory");
	error = copy ? set(spec, copy, &(struct why){ why, why_size }) : -ENOMEM;
	free(copy);
	if (error)
		export_spec_fini(spec);
	return error;
}

int export_spec_parse(const char *text, struct export_spec *spec, char *why, size_t why_size)
{
	return parse(text, set_named, spec, why, why_size);
}

int export_spec_parse_folder(const char *text, struct export_spec *spec, char *why, size_t why_size)
{
	return parse(text, set_folder, spec, why, why_size);
}

/* -- key by key --------------------------------------------------------------------------------------------------- */

int export_spec_begin(const char *name, struct export_spec *spec, char *why, size_t why_size)
{
	*spec = (struct export_spec){ .mode = CACHE_writeback };
	snprintf(why, why_size, "out of memory");
	return set_name(spec, name, &(struct why){ why, why_size });
}

int export_spec_place(struct export_spec *spec, const char *path, bool is_folder, char *why, size_t why_size)
{
	const struct why where = { why, why_size };

	if (spec->path)
		return REFUSE(&where, "there is a path already: '%s'", spec->path);
	snprintf(why, why_size, "out of memory");
	spec->is_folder = is_folder;
	if (is_folder)
		*spec->name = '\0';
	return set_place(spec, path, &where);
}

bool export_spec_key_is_flag(const char *key)
{
	unsigned row = row_of(key);

	return row < KEYS && !keys[row].has_value;
}

int export_spec_set(struct export_spec *spec, const char *key, const char *value, char *why, size_t why_size)
{
	snprintf(why, why_size, "out of memory");
	return set_key(spec, key, value, &(struct why){ why, why_size });
}

int export_spec_finish(const struct export_spec *spec, char *why, size_t why_size)
{
	const struct why where = { why, why_size };

	return spec->path ? finish(spec, &where) : REFUSE(&where, "the path is missing");
}

/* -- as a whole --------------------------------------------------------------------------------------------------- */

int export_spec_file(const char *path, struct export_spec *spec)
{
	*spec = (struct export_spec){ .name = strdup(""), .path = strdup(path), .mode = CACHE_writeback };
	if (spec->name && spec->path)
		return 0;
	export_spec_fini(spec);
	return -ENOMEM;
}

void export_spec_fini(struct export_spec *spec)
{
	free(spec->name);
	free(spec->path);
	free(spec->overlay);
	free(spec->record);
	free(spec->description);
	access_fini(&spec->access);
	for (unsigned i = 0; i < spec->fault_count; i++)
		free(spec->faults[i]);
	free(spec->faults);
	*spec = (struct export_spec){ 0 };
}
