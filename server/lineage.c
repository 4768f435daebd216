/* server/lineage.c -- three numbers of a fixed width, and what they mean for each other. */
#include "server/lineage.h"

#define DIGITS ((size_t)16)

/* Lowercase hexadecimal. */
static bool parse_number(const char *text, uint64_t *out)
{
	*out = 0;
	for (unsigned i = 0; i < DIGITS; i++) {
		char c = text[i];

		if (c >= '0' && c <= '9')
			*out = *out << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			*out = *out << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	return true;
}

bool lineage_parse(const char *text, size_t length, struct lineage *out)
{
	struct lineage told;

	if (length != 3 * DIGITS + 2 || text[DIGITS] != ':' || text[2 * DIGITS + 1] != ':')
		return false;
	if (!parse_number(text, &told.identity) || !parse_number(text + DIGITS + 1, &told.epoch) ||
		!parse_number(text + 2 * DIGITS + 2, &told.link) || !told.identity)
		return false;
	*out = told;
	return true;
}

bool lineage_follows(const struct lineage *later, const struct lineage *earlier)
{
	if (!later->identity || later->identity != earlier->identity)
		return false;
	return later->epoch != earlier->epoch || later->link == earlier->link;
}
