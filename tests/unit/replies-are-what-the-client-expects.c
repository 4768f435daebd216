/* The head of each reply is the one that the negotiated form of replies demands.
 * If this fails, a client loses its place in the stream of replies, and data ends up in the wrong request. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "server/request.h"

#define COOKIE "\x01\x02\x03\x04\x05\x06\x07\x08"

static struct request request_for(uint16_t type, int status, const char *why)
{
	return (struct request){
		.magic = REQUEST_MAGIC,
		.command = { .type = type, .cookie = 0x0102030405060708, .offset = 0x1000, .length = 0x200 },
		.status = status,
		.why = why,
	};
}

static void expect(
	const struct request *request, bool structured, const char *bytes, size_t length, size_t data)
{
	uint8_t out[REPLY_HEAD_MAX];

	assert_int_equal(request_reply(request, structured, out), length);
	assert_memory_equal(out, bytes, length);
	assert_int_equal(request_reply_data(request), data);
}

#define SIMPLE(error) "\x67\x44\x66\x98\0\0\0" error COOKIE, 16

static void simple_replies(void **state)
{
	struct request read = request_for(NBD_CMD_READ, 0, NULL);
	struct request failed = request_for(NBD_CMD_READ, -EIO, NULL);
	struct request write = request_for(NBD_CMD_WRITE, 0, NULL);

	(void)state;
	expect(&read, false, SIMPLE("\0"), 0x200);
	expect(&failed, false, SIMPLE("\5"), 0);
	expect(&write, false, SIMPLE("\0"), 0);
}

static void structured_replies(void **state)
{
	struct request read = request_for(NBD_CMD_READ, 0, NULL);
	struct request write = request_for(NBD_CMD_WRITE, 0, NULL);
	struct request bad = request_for(NBD_CMD_READ, -EINVAL, "no");
	struct request broken = request_for(NBD_CMD_WRITE, -EIO, NULL);

	(void)state;
	expect(&read, true, "\x66\x8e\x33\xef\0\1\0\1" COOKIE "\0\0\x02\x08\0\0\0\0\0\0\x10\0", 28, 0x200);
	expect(&write, true, SIMPLE("\0"), 0);
	expect(&bad, true, "\x66\x8e\x33\xef\0\1\x80\1" COOKIE "\0\0\0\x08\0\0\0\x16\0\2no", 28, 0);
	expect(&broken, true,
		"\x66\x8e\x33\xef\0\1\x80\1" COOKIE "\0\0\0\x18\0\0\0\5\0\x12Input/output error", 44, 0);
}

static void long_words_are_cut(void **state)
{
	static char words[REPLY_HEAD_MAX + 1];
	struct request bad = request_for(NBD_CMD_READ, -EINVAL, memset(words, 'w', REPLY_HEAD_MAX));
	uint8_t out[REPLY_HEAD_MAX];

	(void)state;
	assert_int_equal(request_reply(&bad, true, out), REPLY_HEAD_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(simple_replies),
		cmocka_unit_test(structured_replies),
		cmocka_unit_test(long_words_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
