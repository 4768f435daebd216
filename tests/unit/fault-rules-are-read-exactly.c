/* A fault rule is understood exactly, prints as what reads as itself, and is otherwise refused with what is wrong and where.
 * If this fails, a test suite believes that it has tried a failure which never happened. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "server/fault_rule.h"

#define ANY (FAULT_ON_REQUESTS | FAULT_ON_CLIENTS)

/* What is written, and how it is printed; NULL: the same. */
static const struct {
	const char *text, *printed;
} good[] = {
	{ "write 1M-2M every 3 once: error EIO", NULL },
	{ "read p 0.01 seed 7: delay normal 20ms 5ms", NULL },
	{ "any from 10.0.0.7 after 30s: blackhole", "any after 30s from 10.0.0.7: blackhole" },
	{ ": error EIO", "any: error EIO" },
	{ " : error EIO", "any: error EIO" },
	{ ": drop", "write trim zero: drop" },
	{ ": corrupt old", "read: corrupt old" },
	{ "any: error ENOTSUP", NULL },
	{ "any: error ESHUTDOWN", NULL },
	{ "any: error EOVERFLOW", NULL },
	{ "\tonce  write   :\terror   EIO ", "write once: error EIO" },
	{ "read write: error EIO", "data: error EIO" },
	{ "data flush: hold", "read write flush: hold" },
	{ "read write flush trim zero cache status: hold", "any: hold" },
	{ "read 0-1: close before", NULL },
	{ "read 512+512: close amid", "read 512-1K: close amid" },
	{ "read 1T-: close after", NULL },
	{ "read 1536-2K: close at 0", NULL },
	{ "read always: close at 17", NULL },
	{ "write after 10 after 5s: ghost 1.5s", "write after 10 after 5s: ghost 1500ms" },
	{ "write times 2: tear 512", NULL },
	{ "write: tear silently 4k", "write: tear silently 4K" },
	{ "write: misdirect 64K", NULL },
	{ "write: full 10M", NULL },
	{ "flush: lie", NULL },
	{ "read: corrupt bits 3", NULL },
	{ "read: corrupt sector", NULL },
	{ "data: bandwidth 1M", NULL },
	{ "data: rate 100", NULL },
	{ "any: delay 0.001ms", "any: delay 1us" },
	{ "any: delay 90s", NULL },
	{ "any: delay 60s", "any: delay 1m" },
	{ "any: delay 1h", NULL },
	{ "any: delay 3599999999999ns", NULL },
	{ "any: delay 0.11414014m", "any: delay 6848408400ns" },
	{ "any: delay 0.999999999h", "any: delay 3599999996400ns" },
	{ "any: delay pareto 1ms 18446744073.709551615", NULL },
	{ "any: delay uniform 1ms 1ms", NULL },
	{ "any: delay pareto 5ms 1.50", "any: delay pareto 5ms 1.5" },
	{ "any p 1: hold", NULL },
	{ "any p 0.000000001: hold", NULL },
	{ "any p 0.10 seed 0: hold", "any p 0.1 seed 0: hold" },
	{ "any: wrong cookie", NULL },
	{ "any: wrong magic", NULL },
	{ "any: wrong length", NULL },
	{ "any: double", NULL },
	{ "any: reorder", NULL },
	{ "any connection 7: hold", NULL },
	{ "any from fd00::/8: hold", NULL },
	{ "any from \"fe80::\" : hold", "any from \"fe80::\": hold" },
	{ "any from unix: hold", NULL },
	{ "any cert \"host: 1\" psk u subject CN=a,O=b: hold", NULL },
	{ "any cert \"a\": hold", "any cert a: hold" },
	{ "any cert a\"b: hold", NULL },
	{ "accept: close", NULL },
	{ "accept every 2: hold", NULL },
	{ "handshake: delay 10ms", NULL },
	{ "accept handshake: blackhole", NULL },
	{ "handshake once: error UNKNOWN", NULL },
	{ "handshake: error EXT_HEADER_REQD", NULL },
};

static const struct {
	const char *text, *why;
} bad[] = {
	{ "", "column 1: ': ' and what is to happen are missing" },
	{ "write error EIO", "column 16: ': ' and what is to happen are missing" },
	{ "write:error EIO", "column 16: ': ' and what" },
	{ "write evry 3: error EIO",
		"column 7: 'evry' is not an operation or condition; known: read, write, " },
	{ "write evry 3: error EIO",
		"data, any, FROM-TO, every N, p P, seed N, after N, after TIME, from TEXT" },
	{ "write \"every\" 3: error EIO", "column 7: 'every' is not" },
	{ "write every: error EIO", "column 14: 'every' wants N, a number from 1 on; not ''" },
	{ "write every 0: error EIO", "column 13: 'every' wants N, a number from 1 on; not '0'" },
	{ "write every x: error EIO", "column 13: 'every' wants N, a number from 1 on; not 'x'" },
	{ "write every 18446744073709551616: error EIO", "'every' wants N" },
	{ "write after 5x: error EIO", "column 13: 'after' wants TIME, a time up to an hour" },
	{ "write p 0: error EIO", "'p' wants P, a probability above 0, up to 1" },
	{ "write p 1.1: error EIO", "'p' wants P" },
	{ "write p .5: error EIO", "'p' wants P" },
	{ "write p 0.: error EIO", "'p' wants P" },
	{ "write p -1: error EIO", "'p' wants P" },
	{ "write p 4294967296000: error EIO", "'p' wants P" },
	{ "write p 0.1 p 0.2: error EIO", "column 13: 'p' is given twice" },
	{ "write once times 2: error EIO", "column 12: once, times and always exclude each other" },
	{ "write always once: error EIO", "once, times and always exclude each other" },
	{ "write 1M: error EIO", "column 7: '1M' is not FROM-TO" },
	{ "write 2M-1M: error EIO", "column 7: '2M-1M' is not FROM-TO" },
	{ "write 1M-1M: error EIO", "is not FROM-TO" },
	{ "write 1M+0: error EIO", "is not FROM-TO" },
	{ "write 1-2 3-4: error EIO", "column 11: a second range" },
	{ "write 1-9223372036854775808: error EIO", "is not FROM-TO" },
	{ "write 9223372036854775807+9223372036854775807: error EIO", "is not FROM-TO" },
	{ "write: erorr EIO",
		"column 8: 'erorr' is nothing that can happen; known: delay TIME, delay uniform TIME TIME" },
	{ "write:", "column 7: '' is nothing that can happen" },
	{ "write: error", "column 13: 'error' wants ERRNO, EPERM, EIO" },
	{ "write: error EBUSY", "column 14: 'error' wants ERRNO" },
	{ "write: error EIO EIO", "column 18: 'EIO' is more than there can be" },
	{ "write: delay", "'delay' wants TIME" },
	{ "write: delay 5", "column 14: 'delay' wants TIME" },
	{ "write: delay 0s", "'delay' wants TIME" },
	{ "write: delay 61m", "'delay' wants TIME" },
	{ "write: delay 3600000000001ns", "'delay' wants TIME" },
	{ "write: delay 312749973h", "'delay' wants TIME" },
	{ "write: delay 99999999999999999999999999h", "'delay' wants TIME" },
	{ "write: delay pareto 1ms 18446744073.709551616", "'delay pareto' wants SHAPE" },
	{ "write: delay normal 5ms", "column 24: 'delay normal' wants TIME" },
	{ "write: delay uniform 2ms 1ms", "column 8: 'delay uniform' wants the shorter time first" },
	{ "write: close", "column 8: 'close' is for accept, handshake, not for write" },
	{ "read: drop", "column 7: 'drop' is for write, trim, zero, not for read" },
	{ "any: drop", "not for read, flush, cache, status" },
	{ "write: corrupt bits 1", "'corrupt bits' is for read, not for write" },
	{ "write: tear 500", "'tear' wants SECTOR" },
	{ "write: tear 256", "'tear' wants SECTOR" },
	{ "accept read: hold", "column 1: accept and handshake do not go together with requests" },
	{ "accept 1M-2M: hold", "accept and handshake are about no bytes" },
	{ "accept cert a: hold", "nothing but the address is known" },
	{ "accept: error EIO",
		"'error' is for read, write, flush, trim, zero, cache, status, not for accept" },
	{ "handshake: error EIO", "column 18: 'error' wants REFUSAL, UNSUP, POLICY, INVALID, " },
	{ "handshake: error 6", "column 18: 'error' wants REFUSAL" },
	{ "handshake: error", "column 17: 'error' wants REFUSAL" },
	{ "accept handshake: error UNKNOWN", "column 19: 'error' is for handshake, not for accept" },
	{ "read handshake: error UNKNOWN", "'error' is for handshake, not for read" },
	{ "read: error UNKNOWN", "column 13: 'error' wants ERRNO" },
	{ ": error UNKNOWN", "column 9: 'error' wants ERRNO" },
	{ "any from 10.0.0.0/33: hold", "column 10: '10.0.0.0/33' is not an address" },
	{ "any from : hold", "column 12: 'from' wants TEXT" },
	{ "any from fe80::: hold", "column 10: a text with a colon at its end stands in double quotes" },
	{ "any cert a\":: hold", "column 10: a text with a colon at its end stands in double quotes" },
	{ "any cert \"\": hold", "column 10: '' is not a name" },
	{ "any cert \"a: hold", "column 10: the quote does not end" },
	{ "any psk 1 psk 2 psk 3 psk 4 psk 5 psk 6 psk 7 psk 8 psk 9: hold",
		"column 57: more than 8 clients" },
	{ "any:\nhold", "column 5: a rule is one line of text" },
};

static void good_rules_print_as_they_read(void **state)
{
	char why[2048], printed[FAULT_RULE_SIZE], again[FAULT_RULE_SIZE];
	struct fault_rule rule;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		const char *expected = good[i].printed ? good[i].printed : good[i].text;

		if (fault_rule_parse(good[i].text, ANY, &rule, why, sizeof(why)))
			fail_msg("%s: %s", good[i].text, why);
		assert_string_equal(fault_rule_print(&rule, printed), expected);
		fault_rule_fini(&rule);
		assert_int_equal(fault_rule_parse(printed, ANY, &rule, why, sizeof(why)), 0);
		assert_string_equal(fault_rule_print(&rule, again), printed);
		fault_rule_fini(&rule);
	}
}

static void values_are_what_is_written(void **state)
{
	struct fault_rule rule;
	char why[2048];

	(void)state;
	assert_int_equal(
		fault_rule_parse(
			"write zero 1M+4K every 3 p 0.25 after 1.5s from unix psk \"a b\": delay normal "
			"20ms 5us",
			ANY, &rule, why, sizeof(why)),
		0);
	assert_int_equal(rule.operations, FAULT_ON_write | FAULT_ON_zero);
	assert_true(rule.has_range);
	assert_int_equal(rule.from, 1 << 20);
	assert_int_equal(rule.to, (1 << 20) + 4096);
	assert_int_equal(rule.conditions[FAULT_IF_every], 3);
	assert_int_equal(rule.conditions[FAULT_IF_p], FAULT_PART_ONE / 4);
	assert_int_equal(rule.conditions[FAULT_IF_after_time], 1500000000);
	assert_false(fault_rule_has(&rule, FAULT_IF_after_count));
	assert_int_equal(rule.client_count, 2);
	assert_string_equal(rule.clients[1].text, "a b");
	assert_int_equal(rule.action, FAULT_DO_delay_normal);
	assert_int_equal(rule.arguments[0], 20000000);
	assert_int_equal(rule.arguments[1], 5000);
	fault_rule_fini(&rule);
}

static void bad_rules_are_told_where(void **state)
{
	struct fault_rule rule;
	char why[2048];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (fault_rule_parse(bad[i].text, ANY, &rule, why, sizeof(why)) != -EINVAL)
			fail_msg("'%s' is taken", bad[i].text);
		if (!strstr(why, bad[i].why))
			fail_msg("'%s': %s; expected: %s", bad[i].text, why, bad[i].why);
	}
}

static void long_rules_are_refused(void **state)
{
	char text[FAULT_RULE_MAX + 2], why[256];
	struct fault_rule rule;

	(void)state;
	memset(text, ' ', sizeof(text));
	memcpy(text, "any: hold", 9);
	text[FAULT_RULE_MAX + 1] = '\0';
	assert_int_equal(fault_rule_parse(text, ANY, &rule, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "a rule has 384 bytes at most"));
	text[FAULT_RULE_MAX] = '\0';
	assert_int_equal(fault_rule_parse(text, ANY, &rule, why, sizeof(why)), 0);
	fault_rule_fini(&rule);
	for (unsigned i = 0; i < FAULT_RULE_MAX; i++)
		text[i] = i % 2 ? ' ' : 'x';
	assert_int_equal(fault_rule_parse(text, ANY, &rule, why, sizeof(why)), -EINVAL);
	/* However little room there is for the reason. */
	for (size_t room = 1; room < 16; room++)
		assert_int_equal(fault_rule_parse("x", ANY, &rule, why, room), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_rules_print_as_they_read),
		cmocka_unit_test(values_are_what_is_written),
		cmocka_unit_test(bad_rules_are_told_where),
		cmocka_unit_test(long_rules_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
