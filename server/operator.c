/* server/operator.c -- an operator's questions, a row each. */
#include "server/operator.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "cache/volatile.h"
#include "conf/control_line.h"
#include "server/server.h"
#include "server/survey.h"

static void version(void *context, struct control_call *call, const json_t *arguments)
{
	(void)context;
	if (control_take(call, arguments, NULL, NULL))
		control_answer(call, json_pack("{sssssI}", "program", "vnbd-server", "version", VNBD_VERSION,
					     "pid", (json_int_t)getpid()));
}

/* -- exports ------------------------------------------------------------------------------------------------------ */

static json_t *mode_of(const struct export_spec *spec)
{
	return spec->memory_size ? json_null() : json_string(cache_mode_name(spec->mode));
}

/* What its cache holds, or null. */
static json_t *volatile_of(const struct export *export)
{
	struct volatile_counts counts;

	if (!export->volatile_disk)
		return json_null();
	counts = volatile_count(export->volatile_disk);
	return json_pack("{sIsIsI}", "size", (json_int_t) export->spec.volatile_bytes, "used",
		(json_int_t)counts.bytes, "writes", (json_int_t)counts.held);
}

static json_t *verifier_of(const struct export *export)
{
	return json_sprintf("%016" PRIx64, export_verifier(export));
}

static void add_export(json_t *list, const struct export *export)
{
	const struct export_spec *spec = &export->spec;

	json_array_append_new(
		list, json_pack("{sososIsosbsososbsI}", "name", control_text(spec->name), "path",
			      control_text(spec->path), "size", (json_int_t) export->disk->facts.size,
			      "cache", mode_of(spec), "readonly", (int)export->disk->facts.readonly,
			      "verifier", verifier_of(export), "volatile", volatile_of(export), "down",
			      (int)export->down, "connections",
			      (json_int_t)atomic_load_explicit(&export->connections, memory_order_relaxed)));
}

static void add_open_file(void *list, struct export *export)
{
	add_export(list, export);
}

/* A row for itself, which has no name, and one for each file that a client uses. */
static void add_folder(json_t *list, const struct export *export)
{
	json_array_append_new(
		list, json_pack("{snsosnsosbsnsnsbsn}", "name", "path", control_text(export->spec.path),
			      "size", "cache", mode_of(&export->spec), "readonly", (int)export->spec.readonly,
			      "verifier", "volatile", "down", 0, "connections"));
	export_folder_for_each(export->folder, add_open_file, list);
}

static void list_exports(void *context, struct control_call *call, const json_t *arguments)
{
	const struct server *server = context;
	json_t *list;

	if (!control_take(call, arguments, NULL, NULL))
		return;
	list = json_array();
	for (const struct export *export = server->exports.first; export; export = export->next) {
		if (export->folder)
			add_folder(list, export);
		else
			add_export(list, export);
	}
	control_answer(call, list);
}

/* -- connections -------------------------------------------------------------------------------------------------- */

struct listing {
	struct control_call *call;
	json_t *list;	 /* owned */
	bool incomplete; /* for want of memory */
};

static void on_found(void *context, const struct survey_entry *entries, size_t count)
{
	struct listing *listing = context;

	if (!entries) {
		listing->incomplete = true;
		return;
	}
	for (size_t i = 0; i < count; i++)
		json_array_append_new(listing->list,
			json_pack("{sIsososI}", "number", (json_int_t)entries[i].number, "export",
				control_text(entries[i].export), "peer", control_text(entries[i].peer),
				"since", (json_int_t)entries[i].since));
}

static void on_all_found(void *context)
{
	struct listing *listing = context;

	if (listing->incomplete) {
		json_decref(listing->list);
		control_refuse(listing->call, "out of memory");
	} else {
		control_answer(listing->call, listing->list);
	}
	free(listing);
}

static void list_connections(void *context, struct control_call *call, const json_t *arguments)
{
	struct server *server = context;
	struct listing *listing;

	if (!control_take(call, arguments, NULL, NULL))
		return;
	listing = malloc(sizeof(*listing));
	if (listing) {
		*listing = (struct listing){ .call = call, .list = json_array() };
		if (survey_start(server->workers, server->worker_count, &server->loop.mailbox, on_found,
			    on_all_found, listing) == 0)
			return;
		json_decref(listing->list);
		free(listing);
	}
	control_refuse(call, "out of memory");
}

const struct control_command operator_commands[] = {
	{ "version", "", "Which program this is, its version and process.", version },
	{ "exports", "", "The exports, with their sizes and how many connections use them now.",
		list_exports },
	{ "connections", "", "The clients that use an export now.", list_connections },
	{ 0 },
};
