/* What an operator writes behind --export is understood exactly, or refused with a reason that names the mistake.
 * If this fails, a server exports another file than it was told, or writes to one that was to be readonly. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "server/export_spec.h"

static const struct {
	const char *text;
	struct {
		const char *name, *path, *description;
		enum cache_mode mode;
		bool readonly;
		uint64_t memory_size;
	} expect;
} good[] = {
	{ "=/d", { "", "/d", NULL, CACHE_writeback, false, 0 } },
	{ "a=/d", { "a", "/d", NULL, CACHE_writeback, false, 0 } },
	{ "a=/d,readonly", { "a", "/d", NULL, CACHE_writeback, true, 0 } },
	{ "a=/d,cache=none", { "a", "/d", NULL, CACHE_none, false, 0 } },
	{ "a=/d,cache=unsafe,readonly", { "a", "/d", NULL, CACHE_unsafe, true, 0 } },
	{ "a=/d,,e=f,readonly", { "a", "/d,e=f", NULL, CACHE_writeback, true, 0 } },
	{ "a=/d,,,readonly", { "a", "/d,", NULL, CACHE_writeback, true, 0 } },
	{ "a=/d,description=red,, blue = green",
		{ "a", "/d", "red, blue = green", CACHE_writeback, false, 0 } },
	{ "a=/d,description=", { "a", "/d", "", CACHE_writeback, false, 0 } },
	{ "a,b=/d", { "a,b", "/d", NULL, CACHE_writeback, false, 0 } },
	{ "a=memory:1", { "a", "memory:1", NULL, CACHE_writeback, false, 1 } },
	{ "a=memory:64k,description=x", { "a", "memory:64k", "x", CACHE_writeback, false, 65536 } },
	{ "a=memory:3T", { "a", "memory:3T", NULL, CACHE_writeback, false, 3ull << 40 } },
	{ "a=./memory:1G", { "a", "./memory:1G", NULL, CACHE_writeback, false, 0 } },
};

static const struct {
	const char *text, *why;
} bad[] = {
	{ "/d", "not NAME=PATH" },
	{ "", "not NAME=PATH" },
	{ "a=", "the path is empty" },
	{ "a=,readonly", "the path is empty" },
	{ "a=/d,description=Stra\xdf"
	  "e",
		"the description is not UTF-8" },
	{ "a=/d,", "unknown key ''" },
	{ "a=/d,cach=none", "unknown key 'cach'; known: cache=MODE, readonly, overlay=FILE, volatile=on, "
			    "record=FILE, description=TEXT" },
	{ "a=/d,cache=never",
		"unknown cache mode 'never'; known: writeback, writethrough, none, directsync, unsafe" },
	{ "a=/d,cache", "'cache' needs a value" },
	{ "a=/d,readonly=yes", "'readonly' takes no value" },
	{ "a=/d,readonly,readonly", "'readonly' is given twice" },
	{ "a=/d,record=", "'record' needs a file" },
	{ "a=/d,record", "'record' needs a value" },
	{ "a=/d,overlay=", "'overlay' needs a file, or 'temporary'" },
	{ "a=/d,overlay", "'overlay' needs a value" },
	{ "a=/d,readonly,overlay=/o", "'overlay' takes writes, 'readonly' does not" },
	{ "a=memory:1M,overlay=/o", "'overlay' is not for memory" },
	{ "a=/d,volatile", "'volatile' needs a value" },
	{ "a=/d,volatile=off", "'volatile' is 'on', or a size from 64K to 512M: 'off'" },
	{ "a=/d,volatile=63K", "'volatile' is 'on', or a size from 64K to 512M" },
	{ "a=/d,volatile=513M", "'volatile' is 'on', or a size from 64K to 512M" },
	{ "a=/d,volatile=9999999999999999999T", "'volatile' is 'on', or a size from 64K to 512M" },
	{ "a=/d,volatile=on,readonly", "'volatile' holds writes, and 'readonly' takes none" },
	{ "a=memory:",
		"not memory:SIZE, with bytes or K, M, G, T: 'memory:' (a file of that name is ./memory:)" },
	{ "a=memory:0", "not memory:SIZE" },
	{ "a=memory:-1", "not memory:SIZE" },
	{ "a=memory:1X", "not memory:SIZE" },
	{ "a=memory:1GB", "not memory:SIZE" },
	{ "a=memory:0x10", "not memory:SIZE" },
	{ "a=memory:8388608T", "'memory:8388608T' is too large" },
	{ "a=memory:18446744073709551617", "'memory:18446744073709551617' is too large" },
	{ "a=memory:1G,cache=none", "'cache' is not for memory" },
	{ "a=memory:1G,readonly", "'readonly' is not for memory" },
	{ "a=/d,description=x,description=y", "'description' is given twice" },
};

static void good_specs(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		const __typeof__(good[i].expect) *expect = &good[i].expect;
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
		assert_int_equal(spec.memory_size, expect->memory_size);
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

static void overlays(void **state)
{
	struct export_spec spec;
	char why[256];

	(void)state;
	assert_int_equal(export_spec_parse("a=/d,overlay=/o,,o,cache=unsafe", &spec, why, sizeof(why)), 0);
	assert_true(spec.has_overlay && spec.mode == CACHE_unsafe);
	assert_string_equal(spec.overlay, "/o,o");
	export_spec_fini(&spec);
	assert_int_equal(export_spec_parse("a=/d,overlay=temporary", &spec, why, sizeof(why)), 0);
	assert_true(spec.has_overlay && !spec.overlay);
	export_spec_fini(&spec);
	assert_int_equal(export_spec_parse("a=/d,overlay=./temporary", &spec, why, sizeof(why)), 0);
	assert_string_equal(spec.overlay, "./temporary");
	export_spec_fini(&spec);
}

static void volatile_caches(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} rows[] = { { "a=/d", 0 }, { "a=/d,volatile=on", 64 << 20 },
		{ "a=/d,volatile=64k,cache=unsafe", 64 << 10 }, { "a=memory:1M,volatile=512M", 512 << 20 },
		{ "a=/d,overlay=/o,volatile=on", 64 << 20 } };
	struct export_spec spec;
	char why[256];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		assert_int_equal(export_spec_parse(rows[i].text, &spec, why, sizeof(why)), 0);
		assert_int_equal(spec.volatile_bytes, rows[i].bytes);
		export_spec_fini(&spec);
	}
	assert_int_not_equal(export_spec_parse_folder("/d,volatile=on", &spec, why, sizeof(why)), 0);
	assert_string_equal(why, "'volatile' is not for directories");
}

static void folders(void **state)
{
	struct export_spec spec;
	char why[256];

	(void)state;
	assert_int_equal(export_spec_parse_folder("/d=e,,f,cache=none,readonly", &spec, why, sizeof(why)), 0);
	assert_true(spec.is_folder && spec.readonly && spec.mode == CACHE_none);
	assert_string_equal(spec.path, "/d=e,f");
	assert_string_equal(spec.name, "");
	export_spec_fini(&spec);
	assert_int_equal(export_spec_parse_folder("memory:1G", &spec, why, sizeof(why)), 0);
	assert_int_equal(spec.memory_size, 0);
	export_spec_fini(&spec);
	assert_int_equal(export_spec_parse_folder("/d,overlay=temporary", &spec, why, sizeof(why)), -EINVAL);
	assert_string_equal(why, "'overlay' is not for directories");
	assert_int_equal(export_spec_parse_folder(",readonly", &spec, why, sizeof(why)), -EINVAL);
	assert_string_equal(why, "the path is empty");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_specs),
		cmocka_unit_test(bad_specs),
		cmocka_unit_test(overlays),
		cmocka_unit_test(volatile_caches),
		cmocka_unit_test(folders),
		cmocka_unit_test(too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
