/* What an operator writes behind --export is understood exactly, or refused with a reason that names the mistake.
 * If this fails, a server exports another file than it was told, or writes to one that was to be readonly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "server/export_spec.h"

static const struct {
	const char *text;
	struct export_spec expect;
} good[] = {
	{ "=/d", { "", "/d", NULL, CACHE_writeback, false } },
	{ "a=/d", { "a", "/d", NULL, CACHE_writeback, false } },
	{ "a=/d,readonly", { "a", "/d", NULL, CACHE_writeback, true } },
	{ "a=/d,cache=none", { "a", "/d", NULL, CACHE_none, false } },
	{ "a=/d,cache=unsafe,readonly", { "a", "/d", NULL, CACHE_unsafe, true } },
	{ "a=/d,,e=f,readonly", { "a", "/d,e=f", NULL, CACHE_writeback, true } },
	{ "a=/d,,,readonly", { "a", "/d,", NULL, CACHE_writeback, true } },
	{ "a=/d,description=red,, blue = green", { "a", "/d", "red, blue = green", CACHE_writeback, false } },
	{ "a=/d,description=", { "a", "/d", "", CACHE_writeback, false } },
	{ "a,b=/d", { "a,b", "/d", NULL, CACHE_writeback, false } },
};

static const struct {
	const char *text, *why;
} bad[] = {
	{ "/d", "not NAME=PATH" },
	{ "", "not NAME=PATH" },
	{ "a=", "the path is empty" },
	{ "a=,readonly", "the path is empty" },
	{ "a=/d,", "unknown key ''" },
	{ "a=/d,cach=none", "unknown key 'cach'; known: cache=MODE, readonly, description=TEXT" },
	{ "a=/d,cache=never",
		"unknown cache mode 'never'; known: writeback, writethrough, none, directsync, unsafe" },
	{ "a=/d,cache", "'cache' needs a value" },
	{ "a=/d,readonly=yes", "'readonly' takes no value" },
	{ "a=/d,readonly,readonly", "'readonly' is given twice" },
	{ "a=/d,description=x,description=y", "'description' is given twice" },
};

static void good_specs(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		const struct export_spec *expect = &good[i].expect;
		struct export_spec spec;
		char why[256];

		assert_int_equal(export_spec_parse(good[i].text, &spec, why, sizeof(why)), 0);
		assert_string_equal(spec.name, expect->name);
		assert_string_equal(spec.path, expect->path);
		if (expect->description)
			assert_string_equal(spec.description, expect->description);
		else
			assert_null(spec.description);
		assert_int_equal(spec.mode, expect->mode);
		assert_int_equal(spec.readonly, expect->readonly);
		export_spec_fini(&spec);
	}
}

static void bad_specs(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct export_spec spec;
		char why[256];

		assert_int_not_equal(export_spec_parse(bad[i].text, &spec, why, sizeof(why)), 0);
		assert_memory_equal(why, bad[i].why, strlen(bad[i].why));
		assert_null(spec.path);
	}
}

static void too_long(void **state)
{
	struct export_spec spec;
	char text[4200], why[256];

	(void)state;
	memset(text, 'n', sizeof(text));
	memcpy(text + 4097, "=/d", 4);
	assert_int_not_equal(export_spec_parse(text, &spec, why, sizeof(why)), 0);
	memset(text, 'n', sizeof(text));
	memcpy(text + 4096, "=/d", 4);
	assert_int_equal(export_spec_parse(text, &spec, why, sizeof(why)), 0);
	export_spec_fini(&spec);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_specs),
		cmocka_unit_test(bad_specs),
		cmocka_unit_test(too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
