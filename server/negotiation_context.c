/* server/negotiation_context.c -- the options about metadata contexts. */
#include "server/negotiation_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/meta_query.h"

void negotiation_forget_contexts(struct negotiation *negotiation)
{
	free(negotiation->status_of);
	negotiation->status_of = NULL;
	negotiation->contexts = 0;
	negotiation->lineage.identity = 0;
}

/* It is told in a query that selects nothing. */
static void take_lineage(struct negotiation *negotiation, const struct meta_query *query)
{
	uint32_t length;
	const char *text = meta_query_behind(query, NBD_CONTEXT_SESSION, &length);

	if (text)
		lineage_parse(text, length, &negotiation->lineage);
}

static void reply_context(struct negotiation *negotiation, uint32_t option, uint32_t id, const char *name)
{
	negotiation_reply(negotiation, option, NBD_REP_META_CONTEXT, sizeof(id) + strlen(name));
	negotiation_add32(negotiation, id);
	negotiation_add(negotiation, name, strlen(name));
}

/* Whether there is a query for an export that exists, or else it was refused. */
static bool take_query(struct negotiation *negotiation, const struct option *option, struct meta_query *query)
{
	const char *why = "structured replies or extended headers have to be negotiated first";
	const struct export *export;

	if (negotiation->headers == HEADERS_SIMPLE ||
		meta_query_parse(option->data, option->length, query, &why)) {
		negotiation_refuse(negotiation, option->number, NBD_REP_ERR_INVALID, why);
		return false;
	}
	if (negotiation_refuse_by_rule(negotiation, option->number))
		return false;
	export = negotiation_find(negotiation, query->name, query->name_length);
	if (export && export->down) {
		negotiation_refuse_down(negotiation, option->number);
		return false;
	}
	if (export)
		return true;
	/* Never NBD_REP_ERR_TLS_REQD: "SELECTIVETLS mode" has that for INFO and GO alone. */
	negotiation_refuse(negotiation, option->number, NBD_REP_ERR_UNKNOWN, "no export of that name");
	return false;
}

#define VERIFIER_NAME_SIZE sizeof(NBD_CONTEXT_VERIFIER "0123456789abcdef")

/* The context of the export's verifier, as it is now. Returns 0 where a folder's file cannot be opened; the log tells why. */
static uint64_t name_verifier(
	struct negotiation *negotiation, const struct meta_query *query, char name[VERIFIER_NAME_SIZE])
{
	struct export *export = negotiation_find(negotiation, query->name, query->name_length);
	uint64_t verifier;

	export = export_get(export, query->name, query->name_length, true);
	if (!export)
		return 0;
	verifier = export_verifier(export);
	export_put(export);
	snprintf(name, VERIFIER_NAME_SIZE, NBD_CONTEXT_VERIFIER "%016" PRIx64, verifier);
	return verifier;
}

static bool asks_for_verifier(const struct meta_query *query, const char *name)
{
	return meta_query_has(query, NBD_CONTEXT_VNBD) || meta_query_has(query, NBD_CONTEXT_VERIFIER) ||
	       meta_query_has(query, name);
}

void negotiation_on_list_meta_context(struct negotiation *negotiation, const struct option *option)
{
	char verifier[VERIFIER_NAME_SIZE];
	struct meta_query query;

	if (!take_query(negotiation, option, &query))
		return;
	/* The id "is reserved and SHOULD be set to zero". */
	if (query.count == 0 || meta_query_has(&query, NBD_CONTEXT_ALLOCATION) ||
		meta_query_has(&query, NBD_CONTEXT_BASE))
		reply_context(negotiation, option->number, 0, NBD_CONTEXT_ALLOCATION);
	if ((query.count == 0 || meta_query_has_prefix(&query, NBD_CONTEXT_VNBD)) &&
		name_verifier(negotiation, &query, verifier) &&
		(query.count == 0 || asks_for_verifier(&query, verifier)))
		reply_context(negotiation, option->number, 0, verifier);
	negotiation_acknowledge(negotiation, option->number);
}

static void select_context(struct negotiation *negotiation, const struct option *option,
	enum meta_context context, const char *name)
{
	negotiation->contexts |= META_BIT(context);
	reply_context(negotiation, option->number, context, name);
}

void negotiation_on_set_meta_context(struct negotiation *negotiation, const struct option *option)
{
	char verifier[VERIFIER_NAME_SIZE];
	struct meta_query query;

	/* It "replaces all previously-set metadata contexts (including when this command fails)". */
	negotiation_forget_contexts(negotiation);
	if (!take_query(negotiation, option, &query))
		return;
	if (meta_query_has(&query, NBD_CONTEXT_ALLOCATION))
		select_context(negotiation, option, META_ALLOCATION, NBD_CONTEXT_ALLOCATION);
	take_lineage(negotiation, &query);
	if (meta_query_has_prefix(&query, NBD_CONTEXT_VNBD)) {
		negotiation->verifier = name_verifier(negotiation, &query, verifier);
		if (negotiation->verifier && asks_for_verifier(&query, verifier))
			select_context(negotiation, option, META_VERIFIER, verifier);
	}
	if (negotiation->contexts) {
		negotiation->status_of = strndup(query.name, query.name_length);
		if (!negotiation->status_of) {
			negotiation_end(negotiation, CLOSE_memory);
			return;
		}
	}
	negotiation_acknowledge(negotiation, option->number);
}
