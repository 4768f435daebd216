/* server/meta_query.h -- the data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT: pure functions over foreign
 * bytes. Spec: proto.md, "Option types", "The base: metadata namespace".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct meta_query {
	const char *name; /* borrowed: in the option's data, as queries */
	uint32_t name_length;
	uint32_t count; /* queries, for whatever namespaces and leaves */
	const uint8_t *queries;
	uint32_t queries_length;
};

/* Returns 0, or -EINVAL with the reason in @why. */
int meta_query_parse(const uint8_t *data, uint32_t length, struct meta_query *out, const char **why);

/* Whether one of the queries of @query, which was parsed, is @word; or begins with it. */
bool meta_query_has(const struct meta_query *query, const char *word);
bool meta_query_has_prefix(const struct meta_query *query, const char *word);

/* meta_query_behind() - what follows @word in the first query that begins with it: @length bytes of the option's data.
 * Returns NULL: none does. */
const char *meta_query_behind(const struct meta_query *query, const char *word, uint32_t *length);
