/* server/meta_query.c -- a name, a count, and that many queries; what is left over is an error. */
#include "server/meta_query.h"

#include <errno.h>
#include <string.h>

#include "server/nbd_wire.h"

/* What of the option's data is not read yet. */
struct rest {
	const uint8_t *data;
	uint32_t length;
};

static bool take_number(struct rest *rest, uint32_t *number)
{
	if (rest->length < sizeof(*number))
		return false;
	*number = nbd_get32(rest->data);
	rest->data += sizeof(*number);
	rest->length -= (uint32_t)sizeof(*number);
	return true;
}

/* A string with its length in front. */
static int take_string(struct rest *rest, const char **string, uint32_t *length, const char **why)
{
	*why = "the option is too short";
	if (!take_number(rest, length))
		return -EINVAL;
	*why = "a string reaches past the option";
	if (*length > rest->length)
		return -EINVAL;
	*why = "a string is longer than 4096 bytes";
	if (*length > NBD_STRING_MAX)
		return -EINVAL;
	*string = (const char *)rest->data;
	rest->data += *length;
	rest->length -= *length;
	return 0;
}

static bool is(const char *query, uint32_t length, const char *word)
{
	return length == strlen(word) && memcmp(query, word, length) == 0;
}

static bool begins(const char *query, uint32_t length, const char *word)
{
	return length >= strlen(word) && memcmp(query, word, strlen(word)) == 0;
}

/* The first that matches, and its @length; NULL: none does. */
static const char *find(const struct meta_query *query, const char *word,
	bool (*matches)(const char *query, uint32_t length, const char *word), uint32_t *length)
{
	struct rest rest = { query->queries, query->queries_length };
	const char *string, *why;

	for (uint32_t i = 0; i < query->count; i++)
		if (take_string(&rest, &string, length, &why) == 0 && matches(string, *length, word))
			return string;
	return NULL;
}

bool meta_query_has(const struct meta_query *query, const char *word)
{
	uint32_t length;

	return find(query, word, is, &length);
}

bool meta_query_has_prefix(const struct meta_query *query, const char *word)
{
	uint32_t length;

	return find(query, word, begins, &length);
}

const char *meta_query_behind(const struct meta_query *query, const char *word, uint32_t *length)
{
	const char *found = find(query, word, begins, length);

	if (!found)
		return NULL;
	*length -= (uint32_t)strlen(word);
	return found + strlen(word);
}

int meta_query_parse(const uint8_t *data, uint32_t length, struct meta_query *out, const char **why)
{
	struct rest rest = { data, length };
	const char *query;
	uint32_t query_length;
	int error;

	*out = (struct meta_query){ 0 };
	error = take_string(&rest, &out->name, &out->name_length, why);
	if (error)
		return error;
	*why = "the option is too short";
	if (!take_number(&rest, &out->count))
		return -EINVAL;
	out->queries = rest.data;
	out->queries_length = rest.length;
	for (uint32_t i = 0; i < out->count; i++) {
		error = take_string(&rest, &query, &query_length, why);
		if (error)
			return error;
	}
	*why = "the option is longer than its queries";
	return rest.length == 0 ? 0 : -EINVAL;
}
