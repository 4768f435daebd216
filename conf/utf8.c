/* conf/utf8.c -- RFC 3629's grammar as a table. */
#include "conf/utf8.h"

#include <stdint.h>

/* How a code point begins: its first byte, how many follow, and what the first of these may be. */
enum { FORMS = 9 };
static const struct form {
	uint8_t first_low, first_high, following, second_low, second_high;
} forms[FORMS] = {
	{ 0x01, 0x7f, 0, 0, 0 },
	{ 0xc2, 0xdf, 1, 0x80, 0xbf },
	{ 0xe0, 0xe0, 2, 0xa0, 0xbf },
	{ 0xe1, 0xec, 2, 0x80, 0xbf },
	{ 0xed, 0xed, 2, 0x80, 0x9f },
	{ 0xee, 0xef, 2, 0x80, 0xbf },
	{ 0xf0, 0xf0, 3, 0x90, 0xbf },
	{ 0xf1, 0xf3, 3, 0x80, 0xbf },
	{ 0xf4, 0xf4, 3, 0x80, 0x8f },
};

static bool is_within(uint8_t byte, uint8_t low, uint8_t high)
{
	return byte >= low && byte <= high;
}

static bool has_form(const struct form *form, const uint8_t *bytes, size_t length)
{
	if (!is_within(bytes[0], form->first_low, form->first_high) || form->following >= length)
		return false;
	if (form->following > 0 && !is_within(bytes[1], form->second_low, form->second_high))
		return false;
	for (unsigned i = 2; i <= form->following; i++)
		if (!is_within(bytes[i], 0x80, 0xbf))
			return false;
	return true;
}

/* Bytes of the code point that @bytes, at least one, begin with; 0: it is none. */
static size_t code_point_size(const uint8_t *bytes, size_t length)
{
	for (int i = 0; i < FORMS; i++)
		if (has_form(&forms[i], bytes, length))
			return forms[i].following + 1u;
	return 0;
}

bool utf8_is_text(const char *bytes, size_t length)
{
	size_t size = 0;

	for (size_t at = 0; at < length; at += size) {
		size = code_point_size((const uint8_t *)bytes + at, length - at);
		if (size == 0)
			return false;
	}
	return true;
}
