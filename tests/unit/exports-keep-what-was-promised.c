/* After a reconnect, an export that is no longer the guest's disk is told from one that is.
 * If this fails, a guest writes to a disk that shrank under it, or waits for one that is fine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "client/offer.h"

static const struct disk_facts promised = {
	.size = 1 << 20,
	.block_size_min = 512,
	.block_size_preferred = 4096,
	.data_max = BLOCK_DATA_MAX,
	.volatile_cache = true,
	.can_flush = true,
	.can_fua = true,
	.can_trim = true,
	.can_zero = true,
};

static void the_same_and_more_is_welcome(void **state)
{
	struct disk_facts offered = promised;
	char why[OFFER_WHY_SIZE];

	(void)state;
	assert_int_equal(offer_keeps(&promised, &offered, why), 0);
	offered.size++;
	offered.block_size_min = 1;
	offered.block_size_preferred = 65536;
	offered.can_cache = offered.can_fast_zero = offered.can_multi_conn = true;
	assert_int_equal(offer_keeps(&promised, &offered, why), 0);
}

#define LESS(change, reason)                                                 \
	do {                                                                 \
		struct disk_facts offered = promised;                        \
		char why[OFFER_WHY_SIZE] = "";                               \
		offered.change;                                              \
		assert_int_equal(offer_keeps(&promised, &offered, why), -1); \
		assert_non_null(strstr(why, reason));                        \
	} while (0)

static void less_is_refused_and_named(void **state)
{
	(void)state;
	LESS(size--, "shrank from 1048576 to 1048575");
	LESS(readonly = true, "read-only");
	LESS(block_size_min = 4096, "block size grew from 512 to 4096");
	LESS(can_flush = false, "flush");
	LESS(can_fua = false, "fua");
	LESS(can_trim = false, "trim");
	LESS(can_zero = false, "zero");
}

static void what_was_read_only_may_be_so(void **state)
{
	struct disk_facts before = promised, offered = promised;
	char why[OFFER_WHY_SIZE];

	(void)state;
	before.readonly = true;
	assert_int_equal(offer_keeps(&before, &offered, why), 0);
	offered.readonly = true;
	assert_int_equal(offer_keeps(&before, &offered, why), 0);
}

static void an_offer_is_one_line(void **state)
{
	struct offer offer = { .facts = promised, .command_data_max = BLOCK_DATA_MAX, .native_fua = true };
	char text[200], cut[20];

	(void)state;
	assert_string_equal(offer_text(&offer, text, sizeof(text)),
		"1.0 MiB, block size 512..4096, flush, fua, trim, zero");
	offer.native_fua = false;
	offer.facts.readonly = true;
	offer.facts.size = 1000;
	assert_string_equal(offer_text(&offer, text, sizeof(text)),
		"1000 bytes, block size 512..4096, read-only, flush, fua (by flush), trim, zero");
	assert_true(strlen(offer_text(&offer, cut, sizeof(cut))) < sizeof(cut));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_and_more_is_welcome),
		cmocka_unit_test(less_is_refused_and_named),
		cmocka_unit_test(what_was_read_only_may_be_so),
		cmocka_unit_test(an_offer_is_one_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
