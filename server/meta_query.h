/* server/meta_query.h -- the data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT: pure functions over foreign
 * bytes. Spec: proto.md, "Option types", "The base: metadata namespace".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The id of base:allocation, the only metadata context there is, in replies to NBD_OPT_SET_META_CONTEXT and behind. */
#define META_ALLOCATION_ID 1u

struct meta_query {
	const char *name; /* borrowed: in the option's data */
	uint32_t name_length;
	uint32_t
		count; /* queries; those that are not counted below are for namespaces and leaves we do not have */
	bool allocation; /* "base:allocation" is among them */
	bool base;	 /* "base:" is: a wildcard, but only in a list */
};

/* Returns 0, or -EINVAL with the reason in @why. */
int meta_query_parse(const uint8_t *data, uint32_t length, struct meta_query *out, const char **why);
