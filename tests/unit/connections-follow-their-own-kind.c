/* What a client tells of whose connection it has is understood exactly, and says which others it comes in the place of.
 * If this fails, a client ends another's connections, or what its own lost one has left behind undoes newer writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "client/session_name.h"
#include "server/lineage.h"
#include "server/nbd_wire.h"

static struct lineage told_by(const struct session_name *name, unsigned link)
{
	char text[SESSION_NAME_SIZE];
	struct lineage lineage;
	size_t prefix = strlen(NBD_CONTEXT_SESSION);

	session_name_text(name, link, text);
	assert_memory_equal(text, NBD_CONTEXT_SESSION, prefix);
	assert_true(lineage_parse(text + prefix, strlen(text + prefix), &lineage));
	return lineage;
}

static void what_we_say_is_understood(void **state)
{
	struct session_name name = { 0x0123456789abcdef, UINT64_MAX };
	struct lineage lineage = told_by(&name, 0x1f);

	(void)state;
	assert_int_equal(lineage.identity, name.identity);
	assert_int_equal(lineage.epoch, name.epoch);
	assert_int_equal(lineage.link, 0x1f);
}

static void nothing_else_is(void **state)
{
	static const char sound[] = "0000000000000001:0000000000000000:0000000000000000";
	const size_t length = sizeof(sound) - 1;
	struct lineage lineage = { 7, 7, 7 };

	(void)state;
	assert_true(lineage_parse(sound, length, &lineage));
	lineage = (struct lineage){ 7, 7, 7 };
	for (size_t i = 0; i < length; i++)
		assert_false(lineage_parse(sound, i, &lineage));
	for (size_t i = 0; i < length; i++) {
		for (const char *c = "-gGA/`"; *c; c++) {
			char text[sizeof(sound) + 1] = "";

			memcpy(text, sound, length);
			assert_false(lineage_parse(text, length + 1, &lineage));
			text[i] = *c;
			assert_false(lineage_parse(text, length, &lineage));
		}
	}
	assert_false(lineage_parse("0000000000000000:0000000000000001:0000000000000001", length, &lineage));
	assert_int_equal(lineage.identity, 7);
}

static void lives_of_one_device_know_each_other(void **state)
{
	struct session_name one, next, other, hidden;

	(void)state;
	session_name_init(&one, "/tmp/one.sock");
	session_name_init(&next, "/tmp/../tmp/one.sock");
	session_name_init(&other, "/tmp/other.sock");
	session_name_init(&hidden, NULL);
	assert_int_equal(one.identity, next.identity);
	assert_true(one.epoch != next.epoch);
	assert_true(one.identity != other.identity && one.identity != hidden.identity);
	session_name_init(&next, NULL);
	assert_true(hidden.identity != next.identity);
	assert_int_equal(chdir("/tmp"), 0);
	session_name_init(&next, "one.sock");
	assert_int_equal(one.identity, next.identity);
	session_name_init(&next, "/nowhere/one.sock");
	assert_true(next.identity && one.identity != next.identity);
}

static void each_comes_in_the_place_of_its_own(void **state)
{
	static const struct lineage later = { 1, 1, 1 };
	static const struct {
		struct lineage earlier;
		bool follows;
	} cases[] = {
		{ { 1, 1, 1 }, true },
		{ { 1, 1, 2 }, false }, /* beside it */
		{ { 1, 2, 1 }, true },
		{ { 1, 2, 2 }, true },
		{ { 2, 1, 1 }, false },
		{ { 0, 1, 1 }, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(lineage_follows(&later, &cases[i].earlier), cases[i].follows);
	assert_false(lineage_follows(&(struct lineage){ 0, 1, 1 }, &(struct lineage){ 0, 2, 1 }));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_we_say_is_understood),
		cmocka_unit_test(nothing_else_is),
		cmocka_unit_test(lives_of_one_device_know_each_other),
		cmocka_unit_test(each_comes_in_the_place_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
