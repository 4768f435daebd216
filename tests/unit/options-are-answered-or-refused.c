/* The handshake answers each option as the specification says, whatever a client sends, and in whatever pieces.
 * If this fails, clients cannot connect, or a hostile one can crash the server before it has named an export. */
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
static struct disk disk = {
	.ops = &ops,
	.facts = { .size = 1 << 20,
		.block_size_min = 1,
		.block_size_preferred = 4096,
		.data_max = 32 << 20,
		.can_flush = true,
		.can_multi_conn = true },
};
static struct export second = { .spec = { .name = (char *)"vm", .description = (char *)"a disk" },
	.disk = &disk,
	.verifier.lifetime = 0x0123456789abcdef };
static struct export first = {
	.spec = { .name = (char *)"" }, .disk = &disk, .verifier.lifetime = 0x0123456789abcdef
};
static struct exports exports;

static struct negotiation talk;
static uint8_t input[2 * NEGOTIATION_MESSAGE_MAX];
static size_t input_length;

static void put(const void *bytes, size_t length)
{
	assert_true(input_length + length <= sizeof(input));
	memcpy(input + input_length, bytes, length);
	input_length += length;
}

static void put_option(uint32_t option, const void *data, uint32_t length)
{
	struct nbd_option_header header = { htobe64(NBD_OPTION_MAGIC), htobe32(option), htobe32(length) };

	put(&header, sizeof(header));
	if (length > 0)
		put(data, length);
}

/* Feeds what was put, message by message. */
static void feed(void)
{
	size_t done = 0, used;

	while ((used = negotiation_feed(&talk, input + done, input_length - done)) > 0)
		done += used;
	input_length -= done;
	memmove(input, input + done, input_length);
}

static void meet(uint32_t flags)
{
	negotiation_init(&talk, &exports);
	assert_int_equal(talk.out.length, sizeof(struct nbd_greeting));
	assert_memory_equal(talk.out.bytes, "NBDMAGICIHAVEOPT\0\3", 18);
	negotiation_sent(&talk, talk.out.length);
	input_length = 0;
	flags = htobe32(flags);
	put(&flags, sizeof(flags));
	feed();
}

/* The next reply in out, checked and taken; its data in @data. Returns the data's length. */
static uint32_t expect(uint32_t option, uint32_t type, const uint8_t **data)
{
	static uint8_t copy[NEGOTIATION_MESSAGE_MAX];
	struct nbd_option_reply_header header;
	uint32_t length;

	assert_true(talk.out.length >= sizeof(header));
	memcpy(&header, talk.out.bytes, sizeof(header));
	length = be32toh(header.length);
	assert_true(be64toh(header.magic) == NBD_OPTION_REPLY_MAGIC);
	assert_int_equal(be32toh(header.option), option);
	assert_int_equal(be32toh(header.type), type);
	assert_true(talk.out.length >= sizeof(header) + length && length <= sizeof(copy));
	memcpy(copy, talk.out.bytes + sizeof(header), length);
	negotiation_sent(&talk, sizeof(header) + length);
	if (data)
		*data = copy;
	return length;
}

static void expect_last(uint32_t option, uint32_t type)
{
	expect(option, type, NULL);
	assert_int_equal(talk.out.length, 0);
}

static void expect_over(enum close_reason reason)
{
	assert_int_equal(talk.stage, NEGOTIATION_OVER);
	assert_int_equal(talk.close, reason);
	negotiation_fini(&talk);
}

static void go_enters_transmission(void **state)
{
	static const uint8_t data[] = { 0, 0, 0, 2, 'v', 'm', 0, 4, 0, 3, 0, 1, 0, 2, 0x7f, 0xff };
	const uint8_t *reply;

	(void)state;
	meet(3);
	put_option(NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	put_option(NBD_OPT_GO, data, sizeof(data));
	feed();
	expect(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, NULL);
	assert_int_equal(expect(NBD_OPT_GO, NBD_REP_INFO, &reply), 12);
	assert_memory_equal(reply, "\0\0\0\0\0\0\0\x10\0\0\x01\x85", 12); /* DF, multi-conn, flush */
	assert_int_equal(expect(NBD_OPT_GO, NBD_REP_INFO, &reply), 4);
	assert_memory_equal(reply, "\0\1vm", 4);
	assert_int_equal(expect(NBD_OPT_GO, NBD_REP_INFO, &reply), 8);
	assert_memory_equal(reply, "\0\2a disk", 8);
	assert_int_equal(expect(NBD_OPT_GO, NBD_REP_INFO, &reply), 14);
	assert_memory_equal(reply, "\0\3\0\0\0\1\0\0\x10\0\2\0\0\0", 14);
	expect_last(NBD_OPT_GO, NBD_REP_ACK);
	assert_int_equal(talk.stage, NEGOTIATION_TRANSMISSION);
	assert_ptr_equal(talk.export, &second);
	assert_int_equal(talk.dialect.headers, HEADERS_STRUCTURED);
	assert_int_equal(talk.dialect.contexts, 0);
	negotiation_fini(&talk);
}

static void byte_by_byte(void **state)
{
	static const uint8_t data[] = { 0, 0, 0, 2, 'v', 'm', 0, 0 };
	size_t length, used = 0;

	(void)state;
	meet(3);
	put_option(NBD_OPT_GO, data, sizeof(data));
	length = input_length;
	for (size_t i = 0; i < length; i++)
		assert_int_equal(used = negotiation_feed(&talk, input, i), 0);
	assert_int_equal(negotiation_feed(&talk, input, length), length);
	expect(NBD_OPT_GO, NBD_REP_INFO, NULL);
	expect_last(NBD_OPT_GO, NBD_REP_ACK);
	negotiation_fini(&talk);
}

/* @flags: with bit 1, NO_ZEROES. */
static void export_name(uint32_t flags, size_t expected)
{
	meet(flags);
	put_option(NBD_OPT_EXPORT_NAME, "vm", 2);
	feed();
	assert_int_equal(talk.out.length, expected);
	assert_memory_equal(talk.out.bytes, "\0\0\0\0\0\x10\0\0\x01\x05", 10);
	assert_int_equal(talk.stage, NEGOTIATION_TRANSMISSION);
	negotiation_fini(&talk);
}

static void export_name_and_zeroes(void **state)
{
	(void)state;
	export_name(3, 10);
	export_name(1, 134);
	export_name(0, 134);
	meet(3);
	put_option(NBD_OPT_EXPORT_NAME, "v", 1);
	feed();
	assert_int_equal(talk.out.length, 0);
	expect_over(CLOSE_export_unknown);
}

static void list_tells_all(void **state)
{
	const uint8_t *reply;

	(void)state;
	meet(3);
	put_option(NBD_OPT_LIST, NULL, 0);
	put_option(NBD_OPT_LIST, "x", 1);
	feed();
	assert_int_equal(expect(NBD_OPT_LIST, NBD_REP_SERVER, &reply), 4);
	assert_memory_equal(reply, "\0\0\0\0", 4);
	assert_int_equal(expect(NBD_OPT_LIST, NBD_REP_SERVER, &reply), 12);
	assert_memory_equal(reply, "\0\0\0\2vma disk", 12);
	expect(NBD_OPT_LIST, NBD_REP_ACK, NULL);
	expect_last(NBD_OPT_LIST, NBD_REP_ERR(NBD_REP_ERR_INVALID));
	negotiation_fini(&talk);
}

static const struct {
	const char *data;
	uint32_t length, error;
} infos[] = {
	{ "", 0, NBD_REP_ERR_INVALID },
	{ "\0\0\0\0\0", 5, NBD_REP_ERR_INVALID },
	{ "\0\0\0\1\0\0", 6, NBD_REP_ERR_INVALID },
	{ "\xff\xff\xff\xff\0\0", 6, NBD_REP_ERR_INVALID },
	{ "\0\0\0\0\0\1", 6, NBD_REP_ERR_INVALID },
	{ "\0\0\0\0\0\0\0\0", 8, NBD_REP_ERR_INVALID },
	{ "\0\0\0\0\xff\xff\0\0", 8, NBD_REP_ERR_INVALID },
	{ "\0\0\0\1v\0\0", 7, NBD_REP_ERR_UNKNOWN },
	{ "\0\0\0\3vm\0\0\0", 9, NBD_REP_ERR_UNKNOWN },
	{ "\0\0\0\2vm\0\0", 8, 0 },
};

static void malformed_infos(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(infos) / sizeof(*infos); i++) {
		meet(3);
		put_option(NBD_OPT_INFO, infos[i].data, infos[i].length);
		feed();
		if (infos[i].error) {
			expect_last(NBD_OPT_INFO, NBD_REP_ERR(infos[i].error));
		} else {
			expect(NBD_OPT_INFO, NBD_REP_INFO, NULL);
			expect_last(NBD_OPT_INFO, NBD_REP_ACK);
		}
		assert_int_equal(talk.stage, NEGOTIATION_OPTION);
		negotiation_fini(&talk);
	}
}

static void unknown_and_long_options(void **state)
{
	static const uint8_t zeroes[OPTION_DATA_MAX + 1];

	(void)state;
	meet(3);
	put_option(NBD_OPT_STARTTLS, NULL, 0);
	put_option(0xffffffff, "data", 4);
	put_option(NBD_OPT_STRUCTURED_REPLY, "x", 1);
	put_option(77, zeroes, sizeof(zeroes));
	feed();
	expect(NBD_OPT_STARTTLS, NBD_REP_ERR(NBD_REP_ERR_POLICY), NULL);
	expect(0xffffffff, NBD_REP_ERR(NBD_REP_ERR_UNSUP), NULL);
	expect(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR(NBD_REP_ERR_INVALID), NULL);
	assert_int_equal(talk.headers, HEADERS_SIMPLE);
	expect_last(77, NBD_REP_ERR(NBD_REP_ERR_UNSUP));
	put_option(NBD_OPT_LIST, zeroes, sizeof(zeroes));
	feed();
	expect_last(NBD_OPT_LIST, NBD_REP_ERR(NBD_REP_ERR_INVALID));
	put_option(NBD_OPT_INFO, zeroes, sizeof(zeroes));
	feed();
	expect_last(NBD_OPT_INFO, NBD_REP_ERR(NBD_REP_ERR_TOO_BIG));
	put_option(NBD_OPT_ABORT, "bye", 3);
	feed();
	expect_last(NBD_OPT_ABORT, NBD_REP_ACK);
	expect_over(CLOSE_handshake_abort);
	meet(3);
	put_option(NBD_OPT_ABORT, zeroes, sizeof(zeroes));
	feed();
	expect_last(NBD_OPT_ABORT, NBD_REP_ACK);
	expect_over(CLOSE_handshake_abort);
}

/* A name and a query, each as long as a string may be, are neither too many nor too big. */
static void the_longest_strings(void **state)
{
	static uint8_t data[3 * sizeof(uint32_t) + 2 * NBD_STRING_MAX];
	const uint32_t length = htobe32(NBD_STRING_MAX), count = htobe32(1);
	uint8_t *at = data;

	(void)state;
	memset(data, 'x', sizeof(data));
	memcpy(at, &length, sizeof(length));
	at += sizeof(length) + NBD_STRING_MAX;
	memcpy(at, &count, sizeof(count));
	memcpy(at + sizeof(count), &length, sizeof(length));
	meet(3);
	put_option(NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	put_option(NBD_OPT_SET_META_CONTEXT, data, sizeof(data));
	feed();
	expect(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, NULL);
	expect_last(NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR(NBD_REP_ERR_UNKNOWN));
	negotiation_fini(&talk);
}

/* Export "vm", and queries. */
#define VM "\0\0\0\2vm"
#define ALLOCATION   \
	"\0\0\0\x0f" \
	"base:allocation"
#define BASE       \
	"\0\0\0\5" \
	"base:"
#define OTHER        \
	"\0\0\0\x0b" \
	"qemu:bitmap"
#define BYTES(s) s, sizeof(s) - 1

static const struct {
	const char *data;
	uint32_t length;
	int listed,
		set; /* 1: base:allocation, 2: the verifier; or -1: NBD_REP_ERR_INVALID, -2: NBD_REP_ERR_UNKNOWN */
} queries[] = {
	{ BYTES(VM "\0\0\0\0"), 3, 0 },
	{ BYTES(VM "\0\0\0\1"
		   "\0\0\0\5"
		   "vnbd:"),
		2, 2 },
	{ BYTES(VM "\0\0\0\2"
		   "\0\0\0\x0e"
		   "vnbd:verifier:" ALLOCATION),
		3, 3 },
	{ BYTES(VM "\0\0\0\1"
		   "\0\0\0\x1e"
		   "vnbd:verifier:0123456789abcdef"),
		2, 2 },
	{ BYTES(VM "\0\0\0\4"
		   "\0\0\0\x1e"
		   "vnbd:verifier:0123456789abcdee"
		   "\0\0\0\x0d"
		   "vnbd:verifier"
		   "\0\0\0\4"
		   "vnbd"
		   "\0\0\0\x0a"
		   "vnbd:other"),
		0, 0 },
	{ BYTES(VM "\0\0\0\1" ALLOCATION), 1, 1 },
	{ BYTES(VM "\0\0\0\1" BASE), 1, 0 },
	{ BYTES(VM "\0\0\0\1" OTHER), 0, 0 },
	{ BYTES(VM "\0\0\0\4" OTHER ALLOCATION BASE ALLOCATION), 1, 1 },
	{ BYTES(VM "\0\0\0\2"
		   "\0\0\0\7"
		   "base:al"
		   "\0\0\0\4"
		   "base"),
		0, 0 },
	{ BYTES(VM "\0\0\0\1"
		   "\0\0\0\x10"
		   "base:allocationX"),
		0, 0 },
	{ BYTES(VM "\0\0\0\1"
		   "\0\0\0\0"),
		0, 0 },
	{ BYTES("\0\0\0\0"
		"\0\0\0\1" ALLOCATION),
		1, 1 },
	{ BYTES("\0\0\0\1"
		"v"
		"\0\0\0\1" ALLOCATION),
		-2, -2 },
	{ BYTES(""), -1, -1 },
	{ BYTES(VM), -1, -1 },
	{ BYTES(VM "\0\0\0"), -1, -1 },
	{ BYTES(VM "\0\0\0\2" ALLOCATION), -1, -1 },
	{ BYTES(VM "\xff\xff\xff\xff" ALLOCATION), -1, -1 },
	{ BYTES(VM "\0\0\0\1"
		   "\0\0\0\x10"
		   "base:allocation"),
		-1, -1 },
	{ BYTES(VM "\0\0\0\1"
		   "\xff\xff\xff\xff"
		   "base:allocation"),
		-1, -1 },
	{ BYTES(VM "\0\0\0\1" ALLOCATION "x"), -1, -1 },
	{ BYTES("\xff\xff\xff\xff"
		"vm"
		"\0\0\0\1" ALLOCATION),
		-1, -1 },
};

static void expect_contexts(uint32_t option, int contexts)
{
	uint8_t set = option == NBD_OPT_SET_META_CONTEXT;
	const uint8_t *reply;

	if (contexts < 0) {
		expect_last(option, NBD_REP_ERR(contexts == -1 ? NBD_REP_ERR_INVALID : NBD_REP_ERR_UNKNOWN));
		return;
	}
	if (contexts & 1) {
		assert_int_equal(expect(option, NBD_REP_META_CONTEXT, &reply), 19);
		assert_int_equal(nbd_get32(reply), set * META_ALLOCATION);
		assert_memory_equal(reply + 4, "base:allocation", 15);
	}
	if (contexts & 2) {
		assert_int_equal(expect(option, NBD_REP_META_CONTEXT, &reply), 34);
		assert_int_equal(nbd_get32(reply), set * META_VERIFIER);
		assert_memory_equal(reply + 4, "vnbd:verifier:0123456789abcdef", 30);
	}
	expect_last(option, NBD_REP_ACK);
}

static void meet_chunked(uint32_t option)
{
	meet(3);
	put_option(option, NULL, 0);
	feed();
	expect_last(option, NBD_REP_ACK);
}

static void meta_contexts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(queries) / sizeof(*queries); i++) {
		meet_chunked(i % 2 ? NBD_OPT_STRUCTURED_REPLY : NBD_OPT_EXTENDED_HEADERS);
		put_option(NBD_OPT_LIST_META_CONTEXT, queries[i].data, queries[i].length);
		feed();
		expect_contexts(NBD_OPT_LIST_META_CONTEXT, queries[i].listed);
		assert_null(talk.status_of);
		put_option(NBD_OPT_SET_META_CONTEXT, queries[i].data, queries[i].length);
		feed();
		expect_contexts(NBD_OPT_SET_META_CONTEXT, queries[i].set);
		assert_true((talk.status_of != NULL) == (queries[i].set > 0));
		negotiation_fini(&talk);
	}
}

static void set_vm(void)
{
	static const char data[] = VM "\0\0\0\1" ALLOCATION;

	put_option(NBD_OPT_SET_META_CONTEXT, data, sizeof(data) - 1);
	feed();
	expect(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, NULL);
	expect_last(NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK);
	assert_non_null(talk.status_of);
}

/* Who was told one verifier does not get at a disk that has another. */
static void a_verifier_that_has_changed_ends_it(void **state)
{
	static const char query[] = VM "\0\0\0\1"
				       "\0\0\0\5"
				       "vnbd:";

	(void)state;
	for (int changes = 0; changes < 2; changes++) {
		meet_chunked(NBD_OPT_STRUCTURED_REPLY);
		put_option(NBD_OPT_SET_META_CONTEXT, query, sizeof(query) - 1);
		feed();
		expect_contexts(NBD_OPT_SET_META_CONTEXT, 2);
		second.verifier.lifetime ^= (uint64_t)changes;
		put_option(NBD_OPT_GO, VM "\0\0", 8);
		feed();
		expect(NBD_OPT_GO, NBD_REP_INFO, NULL);
		expect_last(NBD_OPT_GO, NBD_REP_ACK);
		second.verifier.lifetime ^= (uint64_t)changes;
		if (changes) {
			expect_over(CLOSE_writes_lost);
			continue;
		}
		assert_int_equal(talk.dialect.contexts, META_BIT(META_VERIFIER));
		assert_true(negotiation_concerns(&talk, &second));
		assert_false(negotiation_concerns(&talk, &first));
		negotiation_fini(&talk);
	}
}

/* It is listed, and nobody gets in, or is told what will not hold. */
static void an_export_without_power(void **state)
{
	static const char query[] = VM "\0\0\0\1" ALLOCATION;

	(void)state;
	second.down = true;
	meet_chunked(NBD_OPT_STRUCTURED_REPLY);
	put_option(NBD_OPT_GO, VM "\0\0", 8);
	put_option(NBD_OPT_INFO, VM "\0\0", 8);
	put_option(NBD_OPT_SET_META_CONTEXT, query, sizeof(query) - 1);
	put_option(NBD_OPT_LIST_META_CONTEXT, query, sizeof(query) - 1);
	feed();
	expect(NBD_OPT_GO, NBD_REP_ERR(NBD_REP_ERR_UNKNOWN), NULL);
	expect(NBD_OPT_INFO, NBD_REP_ERR(NBD_REP_ERR_UNKNOWN), NULL);
	expect(NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR(NBD_REP_ERR_UNKNOWN), NULL);
	expect_last(NBD_OPT_LIST_META_CONTEXT, NBD_REP_ERR(NBD_REP_ERR_UNKNOWN));
	put_option(NBD_OPT_EXPORT_NAME, "vm", 2);
	feed();
	expect_over(CLOSE_export_down);
	second.down = false;
}

static void a_selection_ends(void **state)
{
	static const uint8_t zeroes[OPTION_DATA_MAX + 1];

	(void)state;
	/* Without chunks there is no status. */
	meet(3);
	put_option(NBD_OPT_LIST_META_CONTEXT, VM "\0\0\0\0", 10);
	put_option(NBD_OPT_SET_META_CONTEXT, VM "\0\0\0\0", 10);
	feed();
	expect(NBD_OPT_LIST_META_CONTEXT, NBD_REP_ERR(NBD_REP_ERR_INVALID), NULL);
	expect_last(NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR(NBD_REP_ERR_INVALID));
	negotiation_fini(&talk);
	/* Any further try replaces it, a failed one too. */
	for (size_t i = 0; i < sizeof(queries) / sizeof(*queries); i++) {
		meet_chunked(NBD_OPT_STRUCTURED_REPLY);
		set_vm();
		put_option(NBD_OPT_SET_META_CONTEXT, queries[i].data, queries[i].length);
		feed();
		expect_contexts(NBD_OPT_SET_META_CONTEXT, queries[i].set);
		assert_true((talk.status_of != NULL) == (queries[i].set > 0));
		negotiation_fini(&talk);
	}
	meet_chunked(NBD_OPT_STRUCTURED_REPLY);
	set_vm();
	put_option(NBD_OPT_SET_META_CONTEXT, zeroes, sizeof(zeroes));
	feed();
	expect_last(NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR(NBD_REP_ERR_TOO_BIG));
	assert_null(talk.status_of);
	negotiation_fini(&talk);
}

/* @name: the export that transmission is entered with; @flags: what it is said to have. */
static void go_with(const char *name, uint16_t flags, bool allocation)
{
	uint8_t data[16] = { 0, 0, 0, (uint8_t)strlen(name) };
	const uint8_t *reply;

	memcpy(data + 4, name, strlen(name));
	put_option(NBD_OPT_GO, data, (uint32_t)(6 + strlen(name)));
	feed();
	assert_int_equal(expect(NBD_OPT_GO, NBD_REP_INFO, &reply), 12);
	assert_int_equal(nbd_get16(reply + 10), flags);
	expect_last(NBD_OPT_GO, NBD_REP_ACK);
	assert_int_equal(talk.dialect.contexts, allocation ? META_BIT(META_ALLOCATION) : 0);
	negotiation_fini(&talk);
}

static void a_selection_is_for_its_export(void **state)
{
	(void)state;
	meet_chunked(NBD_OPT_STRUCTURED_REPLY);
	set_vm();
	go_with("vm", 0x0185, true);
	meet_chunked(NBD_OPT_STRUCTURED_REPLY);
	set_vm();
	go_with("", 0x0185, false);
	/* NBD_FLAG_BLOCK_STATUS_PAYLOAD needs both. */
	meet_chunked(NBD_OPT_EXTENDED_HEADERS);
	set_vm();
	go_with("vm", 0x1185, true);
	meet_chunked(NBD_OPT_EXTENDED_HEADERS);
	set_vm();
	go_with("", 0x0185, false);
	meet_chunked(NBD_OPT_STRUCTURED_REPLY);
	set_vm();
	put_option(NBD_OPT_EXPORT_NAME, "vm", 2);
	feed();
	assert_int_equal(talk.dialect.contexts, META_BIT(META_ALLOCATION));
	negotiation_fini(&talk);
}

static void extended_headers_take_precedence(void **state)
{
	(void)state;
	meet_chunked(NBD_OPT_STRUCTURED_REPLY);
	put_option(NBD_OPT_EXTENDED_HEADERS, "x", 1);
	put_option(NBD_OPT_EXTENDED_HEADERS, NULL, 0);
	put_option(NBD_OPT_EXTENDED_HEADERS, NULL, 0);
	put_option(NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	feed();
	expect(NBD_OPT_EXTENDED_HEADERS, NBD_REP_ERR(NBD_REP_ERR_INVALID), NULL);
	expect(NBD_OPT_EXTENDED_HEADERS, NBD_REP_ACK, NULL);
	expect(NBD_OPT_EXTENDED_HEADERS, NBD_REP_ACK, NULL);
	expect_last(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR(NBD_REP_ERR_EXT_HEADER_REQD));
	assert_int_equal(talk.headers, HEADERS_EXTENDED);
	put_option(NBD_OPT_EXPORT_NAME, "vm", 2);
	feed();
	expect_over(CLOSE_export_name);
}

static void put_header(uint64_t magic, uint32_t option, uint32_t length)
{
	struct nbd_option_header header = { htobe64(magic), htobe32(option), htobe32(length) };

	put(&header, sizeof(header));
	feed();
}

static void attacks_end_it(void **state)
{
	(void)state;
	meet(4);
	expect_over(CLOSE_client_flags);
	meet(3);
	put_header(NBD_OPTION_MAGIC + 1, NBD_OPT_LIST, 0);
	expect_over(CLOSE_option_magic);
	meet(3);
	put_header(NBD_OPTION_MAGIC, NBD_OPT_LIST, OPTION_SKIP_MAX + 1);
	expect_over(CLOSE_option_length);
	meet(3);
	put_header(NBD_OPTION_MAGIC, NBD_OPT_EXPORT_NAME, OPTION_DATA_MAX + 1);
	expect_over(CLOSE_option_length);
	meet(3);
	for (int i = 0; i < OPTIONS_MAX; i++) {
		put_header(NBD_OPTION_MAGIC, 99, 0);
		expect_last(99, NBD_REP_ERR(NBD_REP_ERR_UNSUP));
	}
	put_header(NBD_OPTION_MAGIC, 99, 0);
	expect_over(CLOSE_options_max);
}

/* Who was told of two exports may ask a bit more, however often that was. */
static void a_list_is_asked_about(void **state)
{
	const int more = 2 * OPTIONS_PER_EXPORT;

	(void)state;
	meet(3);
	for (int i = 0; i < OPTIONS_MAX + more; i++) {
		put_header(NBD_OPTION_MAGIC, NBD_OPT_LIST, 0);
		expect(NBD_OPT_LIST, NBD_REP_SERVER, NULL);
		expect(NBD_OPT_LIST, NBD_REP_SERVER, NULL);
		expect_last(NBD_OPT_LIST, NBD_REP_ACK);
	}
	put_header(NBD_OPTION_MAGIC, NBD_OPT_LIST, 0);
	expect_over(CLOSE_options_max);
}

static int export_both(void **state)
{
	(void)state;
	exports_init(&exports);
	return exports_insert(&exports, &first) || exports_insert(&exports, &second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(go_enters_transmission),
		cmocka_unit_test(byte_by_byte),
		cmocka_unit_test(export_name_and_zeroes),
		cmocka_unit_test(list_tells_all),
		cmocka_unit_test(malformed_infos),
		cmocka_unit_test(unknown_and_long_options),
		cmocka_unit_test(the_longest_strings),
		cmocka_unit_test(attacks_end_it),
		cmocka_unit_test(a_list_is_asked_about),
		cmocka_unit_test(meta_contexts),
		cmocka_unit_test(a_verifier_that_has_changed_ends_it),
		cmocka_unit_test(an_export_without_power),
		cmocka_unit_test(a_selection_ends),
		cmocka_unit_test(a_selection_is_for_its_export),
		cmocka_unit_test(extended_headers_take_precedence),
	};

	return cmocka_run_group_tests(tests, export_both, NULL);
}
