/* server/fault_control.c -- finds the rules that an operator means: the server's, and those of each open export. */
#include "server/fault_control.h"

#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "conf/control_line.h"
#include "server/fault.h"
#include "server/server.h"

/* What a call is about, and what came of it. */
struct asked {
	const char *export; /* NULL: all that there are, or the server's */
	const char *rule;
	uint64_t id; /* 0: all */
	bool export_found;
	int result;	  /* of fault_set_add() */
	uint64_t count;	  /* of rules that were found */
	json_t *list;	  /* borrowed; NULL: nobody wants one */
	const char *name; /* of the export being listed; NULL: the server */
	char *why;	  /* CONTROL_WHY_SIZE */
	void (*visit)(struct asked *asked, struct fault_set *set);
};

static const struct control_argument export_only[] = {
	{ "export", CONTROL_TEXT, false, offsetof(struct asked, export) },
	{ 0 },
};

static void visit_export(void *context, struct export *export)
{
	struct asked *asked = context;

	if (asked->export && strcmp(asked->export, export->spec.name) != 0)
		return;
	asked->export_found = true;
	asked->visit(asked, &export->faults);
}

/* The rules of the export that was named; where none was, the server's, and @all others. */
static void visit_sets(struct server *server, struct asked *asked, bool all)
{
	if (!asked->export)
		asked->visit(asked, &server->faults);
	if (!asked->export && !all)
		return;
	for (struct export *export = server->exports.first; export; export = export->next) {
		if (export->folder)
			export_folder_for_each(export->folder, visit_export, asked);
		else
			visit_export(asked, export);
	}
}

/* Returns whether there is what was named; if not, @call was refused and is gone. */
static bool check_export(struct control_call *call, const struct asked *asked)
{
	if (!asked->export || asked->export_found)
		return true;
	control_refuse(call, "no export '%s' is open", asked->export);
	return false;
}

/* What rules have held up until now may go. */
static void let_go(struct server *server)
{
	for (unsigned i = 0; i < server->worker_count; i++)
		worker_look(&server->workers[i]);
	handshakes_look_at_faults(&server->handshakes);
}

/* Adding. */

static void visit_to_add(struct asked *asked, struct fault_set *set)
{
	if (asked->count++ == 0)
		asked->result = fault_set_add(set, asked->rule, asked->why, CONTROL_WHY_SIZE);
}

static void add(void *context, struct control_call *call, const json_t *arguments)
{
	static const struct control_argument rows[] = {
		{ "export", CONTROL_TEXT, false, offsetof(struct asked, export) },
		{ "rule", CONTROL_TEXT, true, offsetof(struct asked, rule) },
		{ 0 },
	};
	char why[CONTROL_WHY_SIZE];
	struct asked asked = { .visit = visit_to_add, .why = why };

	if (!control_take(call, arguments, rows, &asked))
		return;
	visit_sets(context, &asked, false);
	if (!check_export(call, &asked))
		return;
	if (asked.result < 0)
		control_refuse(call, "%s", why);
	else
		control_answer(call, json_pack("{si}", "id", asked.result));
}

/* Listing. */

static void list_rule(void *context, unsigned id, const char *rule, uint64_t matched, uint64_t fired)
{
	struct asked *asked = context;

	json_array_append_new(asked->list,
		json_pack("{sIsososIsI}", "id", (json_int_t)id, "export",
			asked->name ? control_text(asked->name) : json_null(), "rule", control_text(rule),
			"matched", (json_int_t)matched, "fired", (json_int_t)fired));
}

static void visit_to_list(struct asked *asked, struct fault_set *set)
{
	asked->name = set->name;
	fault_set_for_each(set, list_rule, asked);
}

static void list(void *context, struct control_call *call, const json_t *arguments)
{
	struct asked asked = { .visit = visit_to_list };

	if (!control_take(call, arguments, export_only, &asked))
		return;
	asked.list = json_array();
	visit_sets(context, &asked, true);
	if (check_export(call, &asked))
		control_answer(call, asked.list);
	else
		json_decref(asked.list);
}

/* Removing. */

static void visit_to_remove(struct asked *asked, struct fault_set *set)
{
	if (asked->id <= UINT_MAX)
		asked->count += fault_set_remove(set, (unsigned)asked->id);
}

static void visit_to_clear(struct asked *asked, struct fault_set *set)
{
	asked->count += fault_set_clear(set);
}

static void visit_to_release(struct asked *asked, struct fault_set *set)
{
	if (asked->id <= UINT_MAX)
		asked->count += fault_set_release(set, (unsigned)asked->id);
}

/* @id was named, and is nobody's. */
static void refuse_id(struct control_call *call, uint64_t id)
{
	control_refuse(call, "no rule has the number %ju", (uintmax_t)id);
}

static void remove_rule(void *context, struct control_call *call, const json_t *arguments)
{
	static const struct control_argument rows[] = {
		{ "export", CONTROL_TEXT, false, offsetof(struct asked, export) },
		{ "id", CONTROL_NUMBER, true, offsetof(struct asked, id) },
		{ 0 },
	};
	struct asked asked = { .visit = visit_to_remove };

	if (!control_take(call, arguments, rows, &asked))
		return;
	visit_sets(context, &asked, true);
	if (!check_export(call, &asked))
		return;
	if (asked.count == 0) {
		refuse_id(call, asked.id);
		return;
	}
	let_go(context);
	control_answer(call, NULL);
}

static void clear(void *context, struct control_call *call, const json_t *arguments)
{
	struct asked asked = { .visit = visit_to_clear };

	if (!control_take(call, arguments, export_only, &asked))
		return;
	visit_sets(context, &asked, true);
	if (!check_export(call, &asked))
		return;
	let_go(context);
	control_answer(call, json_pack("{sI}", "removed", (json_int_t)asked.count));
}

static void release(void *context, struct control_call *call, const json_t *arguments)
{
	static const struct control_argument rows[] = {
		{ "export", CONTROL_TEXT, false, offsetof(struct asked, export) },
		{ "id", CONTROL_NUMBER, false, offsetof(struct asked, id) },
		{ 0 },
	};
	struct asked asked = { .visit = visit_to_release };

	if (!control_take(call, arguments, rows, &asked))
		return;
	visit_sets(context, &asked, true);
	if (!check_export(call, &asked))
		return;
	if (asked.id > 0 && asked.count == 0) {
		refuse_id(call, asked.id);
		return;
	}
	let_go(context);
	control_answer(call, NULL);
}

const struct control_command fault_commands[] = {
	{ "fault-add", "[EXPORT] RULE",
		"Add a fault rule to an export, or, for accept and handshake, to the server.", add },
	{ "fault-list", "[EXPORT]",
		"The rules, how many requests each has counted, and how often it has fired.", list },
	{ "fault-remove", "[EXPORT] ID", "Remove a rule; what it holds up goes on.", remove_rule },
	{ "fault-clear", "[EXPORT]", "Remove the rules of an export, or all there are.", clear },
	{ "fault-release", "[EXPORT] [ID]", "Let go what a rule, or each of them, has held up until now.",
		release },
	{ 0 },
};
