/* Names and descriptions that clients are told are UTF-8, and nothing that only looks like it. If this fails, a client that takes
 * them for text, as the specification lets it, breaks on a name that somebody gave a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "conf/utf8.h"

static void text(void **state)
{
	static const char *const texts[] = { "", "a", "\x7f\x01", "\xc2\x80", "\u07ff", "\u0800", "\ud7ff",
		"\ue000", "\uffff", "\U00010000", "\U0010ffff",
		"Gr\u00fc\u00dfe \u65e5\u672c \U0001f4be, all in one" };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_true(utf8_is_text(texts[i], strlen(texts[i])));
}

static void bytes(void **state)
{
	static const struct {
		const char *bytes;
		size_t length;
	} rows[] = {
		{ "\0", 1 },
		{ "a\0b", 3 }, /* NUL */
		{ "\x80", 1 },
		{ "\xbf", 1 }, /* what follows, with nothing before it */
		{ "\xff", 1 },
		{ "\xfe", 1 }, /* never a byte of it */
		{ "\xc0\xaf", 2 },
		{ "\xc1\xbf", 2 }, /* longer than need be */
		{ "\xe0\x9f\xbf", 3 },
		{ "\xf0\x8f\xbf\xbf", 4 },
		{ "\xed\xa0\x80", 3 },
		{ "\xed\xbf\xbf", 3 }, /* surrogates */
		{ "\xf4\x90\x80\x80", 4 },
		{ "\xf5\x80\x80\x80", 4 }, /* past the last code point */
		{ "\xc3", 1 },
		{ "\xe6\x97", 2 },
		{ "\xf0\x9f\x92", 3 }, /* cut short */
		{ "\xc3(", 2 },
		{ "\xe6\x97(", 3 },
		{ "\xf0\x9f\x92(", 4 },
		{ "\xe6(\xa5", 3 },
		{ "fine \xfc not", 10 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_false(utf8_is_text(rows[i].bytes, rows[i].length));
}

/* Beyond the length nothing is looked at. */
static void the_length_counts(void **state)
{
	(void)state;
	assert_true(utf8_is_text("a\xff", 1));
	assert_false(utf8_is_text("\xc3\xbc", 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text),
		cmocka_unit_test(bytes),
		cmocka_unit_test(the_length_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
