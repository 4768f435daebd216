/* server/recording.c -- puts the recorder between an export's cache mode and what is below, and takes it out again. */
#include "server/recording.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/record.h"
#include "conf/control_line.h"
#include "conf/log.h"
#include "server/export.h"

/* How much of an export's name a line of the log shows. */
#define NAME_SHOWN 256

static const char *quoted(const struct export *export, char name[NAME_SHOWN])
{
	return log_quote(name, NAME_SHOWN, export->spec.name, strlen(export->spec.name));
}

int recording_start(struct export *export, const char *path, char *why, size_t why_size)
{
	const struct record_about about = {
		.path = path, .name = export->spec.name, .mode = cache_mode_name(export->spec.mode)
	};
	char name[NAME_SHOWN];
	int error = 0;

	if (!export->record)
		error = record_new(cache_below(export->disk), &export->record);
	if (error) {
		snprintf(why, why_size, "%s: %s", path, strerror(-error));
		return error;
	}
	error = record_start(export->record, &about, why, why_size);
	if (error)
		return error;
	cache_divert(export->disk, export->record);
	log_info("export '%s' is recorded in %s", quoted(export, name), path);
	return 0;
}

/* Returns the path of the file, to be free()d; or NULL: it was not recorded. */
static char *stop(struct export *export, struct record_counts *counts)
{
	char name[NAME_SHOWN], *path;

	if (!export->record)
		return NULL;
	cache_divert(export->disk, NULL);
	path = record_stop(export->record, counts);
	if (path)
		log_info("export '%s' is no longer recorded in %s: %" PRIu64 " requests, %" PRIu64 " bytes",
			quoted(export, name), path, counts->requests, counts->bytes);
	return path;
}

/* -- commands ----------------------------------------------------------------------------------------------------- */

struct wanted {
	const char *name, *file;
};

/* Returns NULL where @call was refused. */
static struct export *take(struct exports *exports, struct control_call *call, const json_t *arguments,
	const struct control_argument *rows, struct wanted *wanted)
{
	struct export *export;

	if (!control_take(call, arguments, rows, wanted))
		return NULL;
	export = exports_find(exports, wanted->name, strlen(wanted->name));
	if (export && !export->folder)
		return export;
	control_refuse(call, export ? "a file of a directory cannot be recorded" : "there is no such export");
	return NULL;
}

static json_t *result(const char *path, const struct record_counts *counts)
{
	return json_pack("{sosIsI}", "file", control_text(path), "bytes", (json_int_t)counts->bytes,
		"requests", (json_int_t)counts->requests);
}

static void start_command(void *context, struct control_call *call, const json_t *arguments)
{
	static const struct control_argument rows[] = {
		{ "export", CONTROL_TEXT, true, offsetof(struct wanted, name) },
		{ "file", CONTROL_TEXT, true, offsetof(struct wanted, file) },
		{ 0 },
	};
	struct wanted wanted = { 0 };
	struct export *export = take(context, call, arguments, rows, &wanted);
	char why[512];

	if (!export)
		return;
	if (recording_start(export, wanted.file, why, sizeof(why)))
		control_refuse(call, "%s", why);
	else
		control_answer(call, result(wanted.file, &(struct record_counts){ 0 }));
}

static void stop_command(void *context, struct control_call *call, const json_t *arguments)
{
	static const struct control_argument rows[] = {
		{ "export", CONTROL_TEXT, true, offsetof(struct wanted, name) },
		{ 0 },
	};
	struct wanted wanted = { 0 };
	struct export *export = take(context, call, arguments, rows, &wanted);
	struct record_counts counts;
	char *path;

	if (!export)
		return;
	path = stop(export, &counts);
	if (!path)
		control_refuse(call, "it is not recorded");
	else if (counts.error)
		control_refuse(call, "%s: the recording had ended after %" PRIu64 " requests: %s", path,
			counts.requests, strerror(-counts.error));
	else
		control_answer(call, result(path, &counts));
	free(path);
}

const struct control_command recording_commands[] = {
	{ "record-start", "EXPORT FILE", "Record every request of an export in a file, for vnbd-replay.",
		start_command },
	{ "record-stop", "EXPORT", "End the record of an export.", stop_command },
	{ 0 },
};
