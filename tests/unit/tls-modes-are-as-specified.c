/* Before TLS, a client gets what the server's mode allows; after it, nothing that was said before counts.
 * If this fails, somebody on the network talks a client or the server out of TLS, or into something as if it were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "server/limits.h"
#include "server/nbd_wire.h"
#include "server/negotiation.h"

static const struct disk_ops ops;
static struct disk disk = { .ops = &ops,
	.facts = { .size = 1 << 20, .block_size_min = 1, .data_max = 32 << 20 } };
static struct export secret = { .spec = { .name = (char *)"s", .access.tls = true }, .disk = &disk };
static struct export open_to_all = { .spec = { .name = (char *)"o" }, .disk = &disk };
static struct exports exports;

static struct negotiation talk;
static struct identity who;

static void meet(enum tls_mode mode, uint32_t flags)
{
	flags = htobe32(flags);
	who.tls = false;
	negotiation_init(&talk, &exports);
	talk.tls = mode;
	talk.who = &who;
	negotiation_sent(&talk, talk.out.length);
	assert_int_equal(negotiation_feed(&talk, (uint8_t *)&flags, sizeof(flags)), sizeof(flags));
}

enum { SILENCE = 0 };

/* Returns the type of the last reply to it, or SILENCE. */
static uint32_t ask(uint32_t option, const char *data, uint32_t length)
{
	uint8_t bytes[64] = { 0 };
	struct nbd_option_header header = { htobe64(NBD_OPTION_MAGIC), htobe32(option), htobe32(length) };
	uint32_t type = SILENCE;

	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), data, length);
	assert_int_equal(negotiation_feed(&talk, bytes, sizeof(header) + length), sizeof(header) + length);
	while (talk.out.length >= sizeof(struct nbd_option_reply_header)) {
		struct nbd_option_reply_header reply;

		memcpy(&reply, talk.out.bytes, sizeof(reply));
		type = be32toh(reply.type);
		negotiation_sent(&talk, sizeof(reply) + be32toh(reply.length));
	}
	return type;
}

#define ASK(option, data) ask(option, data, sizeof(data) - 1)
#define ERR(name)	  NBD_REP_ERR(NBD_REP_ERR_##name)

#define INFO_OF(name) "\0\0\0\1" name "\0\0"

static const struct {
	uint32_t option;
	const char *data;
	uint32_t length, off, on, require, secure;
} rows[] = {
	{ NBD_OPT_LIST, "", 0, NBD_REP_ACK, NBD_REP_ACK, ERR(TLS_REQD), NBD_REP_ACK },
	{ NBD_OPT_LIST, "x", 1, ERR(INVALID), ERR(INVALID), ERR(TLS_REQD), ERR(INVALID) },
	{ NBD_OPT_INFO, INFO_OF("o"), 7, NBD_REP_ACK, NBD_REP_ACK, ERR(TLS_REQD), NBD_REP_ACK },
	{ NBD_OPT_INFO, INFO_OF("s"), 7, ERR(UNKNOWN), ERR(TLS_REQD), ERR(TLS_REQD), NBD_REP_ACK },
	{ NBD_OPT_INFO, INFO_OF("x"), 7, ERR(UNKNOWN), ERR(TLS_REQD), ERR(TLS_REQD), ERR(UNKNOWN) },
	{ NBD_OPT_GO, INFO_OF("x"), 7, ERR(UNKNOWN), ERR(TLS_REQD), ERR(TLS_REQD), ERR(UNKNOWN) },
	{ NBD_OPT_GO, "x", 1, ERR(INVALID), ERR(INVALID), ERR(TLS_REQD), ERR(INVALID) },
	{ NBD_OPT_STRUCTURED_REPLY, "", 0, NBD_REP_ACK, NBD_REP_ACK, ERR(TLS_REQD), NBD_REP_ACK },
	{ 99, "", 0, ERR(UNSUP), ERR(UNSUP), ERR(TLS_REQD), ERR(UNSUP) },
	{ NBD_OPT_STARTTLS, "x", 1, ERR(INVALID), ERR(INVALID), ERR(INVALID), ERR(INVALID) },
	{ NBD_OPT_STARTTLS, "", 0, ERR(POLICY), NBD_REP_ACK, NBD_REP_ACK, ERR(INVALID) },
	{ NBD_OPT_ABORT, "", 0, NBD_REP_ACK, NBD_REP_ACK, NBD_REP_ACK, NBD_REP_ACK },
};

static void each_option_in_each_mode(void **state)
{
	static const enum tls_mode modes[] = { TLS_OFF, TLS_ON, TLS_REQUIRE, TLS_ON };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const uint32_t expected[] = { rows[i].off, rows[i].on, rows[i].require, rows[i].secure };

		for (int m = 0; m < 4; m++) {
			uint32_t got;

			meet(modes[m], 3);
			who.tls = m == 3;
			got = ask(rows[i].option, rows[i].data, rows[i].length);
			if (got != expected[m])
				fail_msg("row %zu, column %d: %#x", i, m, got);
			negotiation_fini(&talk);
		}
	}
}

static void expect_over(enum close_reason reason)
{
	assert_int_equal(talk.stage, NEGOTIATION_OVER);
	assert_int_equal(talk.close, reason);
	assert_int_equal(talk.out.length, 0);
	negotiation_fini(&talk);
}

static void export_name_without_tls(void **state)
{
	(void)state;
	meet(TLS_REQUIRE, 3);
	assert_int_equal(ASK(NBD_OPT_EXPORT_NAME, "o"), SILENCE);
	expect_over(CLOSE_tls_required);
	meet(TLS_ON, 3);
	assert_int_equal(ASK(NBD_OPT_EXPORT_NAME, "s"), SILENCE);
	expect_over(CLOSE_export_unknown);
	meet(TLS_ON, 3);
	ASK(NBD_OPT_EXPORT_NAME, "o");
	assert_int_equal(talk.stage, NEGOTIATION_TRANSMISSION);
	negotiation_fini(&talk);
}

/* "The server MUST operate in NOTLS mode unless ... NBD_FLAG_C_FIXED_NEWSTYLE" */
static void old_clients(void **state)
{
	(void)state;
	meet(TLS_ON, 0);
	assert_int_equal(ASK(NBD_OPT_STARTTLS, ""), ERR(POLICY));
	assert_int_equal(ASK(NBD_OPT_INFO, INFO_OF("s")), ERR(UNKNOWN));
	negotiation_fini(&talk);
	meet(TLS_REQUIRE, 0);
	expect_over(CLOSE_tls_required);
}

static void list_hides(void **state)
{
	(void)state;
	for (int secure = 0; secure < 2; secure++) {
		struct nbd_option_header header = { htobe64(NBD_OPTION_MAGIC), htobe32(NBD_OPT_LIST), 0 };

		meet(TLS_ON, 3);
		who.tls = secure;
		negotiation_feed(&talk, (uint8_t *)&header, sizeof(header));
		/* A reply of one name, two or one of them, and the last. */
		assert_int_equal(talk.out.length, (1u + secure) * (20 + 5) + 20);
		negotiation_fini(&talk);
	}
}

static void nothing_from_before_counts(void **state)
{
	(void)state;
	meet(TLS_ON, 3);
	assert_int_equal(ASK(NBD_OPT_STRUCTURED_REPLY, ""), NBD_REP_ACK);
	assert_int_equal(talk.headers, HEADERS_STRUCTURED);
	assert_int_equal(ASK(NBD_OPT_SET_META_CONTEXT, "\0\0\0\1o\0\0\0\1\0\0\0\x0f"
						       "base:allocation"),
		NBD_REP_ACK);
	assert_string_equal(talk.status_of, "o");
	assert_int_equal(ASK(NBD_OPT_STARTTLS, ""), NBD_REP_ACK);
	assert_int_equal(talk.stage, NEGOTIATION_STARTTLS);
	/* Whatever is there is not for us. */
	assert_int_equal(negotiation_feed(&talk, (const uint8_t *)"IHAVEOPT\0\0\0\2\0\0\0\0", 16), 0);
	who.tls = true;
	negotiation_secured(&talk);
	assert_int_equal(talk.stage, NEGOTIATION_OPTION);
	assert_int_equal(talk.headers, HEADERS_SIMPLE);
	assert_null(talk.status_of);
	assert_int_equal(ASK(NBD_OPT_GO, INFO_OF("s")), NBD_REP_ACK);
	assert_ptr_equal(talk.export, &secret);
	negotiation_fini(&talk);
}

static void long_options_without_tls(void **state)
{
	struct nbd_option_header header = { htobe64(NBD_OPTION_MAGIC), htobe32(NBD_OPT_INFO),
		htobe32(OPTION_DATA_MAX + 1) };
	struct nbd_option_reply_header reply;

	(void)state;
	meet(TLS_REQUIRE, 3);
	negotiation_feed(&talk, (uint8_t *)&header, sizeof(header));
	memcpy(&reply, talk.out.bytes, sizeof(reply));
	assert_int_equal(be32toh(reply.type), ERR(TLS_REQD));
	assert_int_equal(talk.stage, NEGOTIATION_SKIPPING);
	negotiation_fini(&talk);
}

static int export_both(void **state)
{
	(void)state;
	exports_init(&exports);
	return exports_insert(&exports, &open_to_all) || exports_insert(&exports, &secret);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_option_in_each_mode),
		cmocka_unit_test(export_name_without_tls),
		cmocka_unit_test(old_clients),
		cmocka_unit_test(list_hides),
		cmocka_unit_test(nothing_from_before_counts),
		cmocka_unit_test(long_options_without_tls),
	};

	return cmocka_run_group_tests(tests, export_both, NULL);
}
