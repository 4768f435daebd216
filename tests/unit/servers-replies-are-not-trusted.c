/* Replies in any order and in any pieces put data where it belongs and answer the right command once; what a server may
 * not say ends the connection, and nothing is written but the bytes of a read in flight that it answers.
 * If this fails, a broken server gives a guest wrong data, or writes to memory that is not its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>

#include "client/reply_reader.h"
#include "server/nbd_wire.h"

#define COMMANDS  4u
#define LENGTH	  64u
#define OFFSET	  4096u
#define UNTOUCHED 0xee

static struct rig {
	struct reply_reader reader;
	struct engine_owner owner;
	struct command commands[COMMANDS];
	struct block_req reqs[COMMANDS];
	struct iovec iov[COMMANDS][2];
	/* Each command's data is in two pieces, with bytes that are nobody's around both. */
	uint8_t memory[COMMANDS][3 * LENGTH];
	struct command *answered[COMMANDS];
	unsigned answers;
	uint8_t stream[16384];
	size_t length;
} rig;

static void on_answered(struct engine_owner *owner, struct command *command)
{
	assert_ptr_equal(owner, &rig.owner);
	assert_true(rig.answers < COMMANDS);
	rig.answered[rig.answers++] = command;
}

static struct command *expect(unsigned number, enum block_op op)
{
	static const struct command_limits limits = { 1 << 20, true, true };
	struct command *command = &rig.commands[number];
	uint8_t *memory = rig.memory[number];

	memset(memory, UNTOUCHED, sizeof(rig.memory[number]));
	rig.iov[number][0] = (struct iovec){ memory + 8, 24 };
	rig.iov[number][1] = (struct iovec){ memory + 64, LENGTH - 24 };
	rig.reqs[number] = (struct block_req){
		.op = op, .offset = OFFSET * number, .length = LENGTH, .iov = rig.iov[number], .iov_count = 2
	};
	command_start(command, &rig.reqs[number]);
	assert_true(command_prepare(command, &limits, NULL));
	reply_reader_expect(&rig.reader, command);
	command->wire.sent_at = 1;
	rig.reader.sent = 1;
	return command;
}

static void begin(bool structured)
{
	memset(&rig, 0, sizeof(rig));
	rig.owner.answered = on_answered;
	assert_int_equal(reply_reader_init(&rig.reader, structured,
				 (struct command_pool){ rig.commands, COMMANDS }, &rig.owner),
		0);
}

static void end(void)
{
	reply_reader_fini(&rig.reader);
}

/* -- what a server says ------------------------------------------------------------------------------------------- */

static void say(const void *bytes, size_t length)
{
	assert_true(rig.length + length <= sizeof(rig.stream));
	memcpy(rig.stream + rig.length, bytes, length);
	rig.length += length;
}

static void say_simple(uint64_t cookie, uint32_t error)
{
	struct nbd_simple_reply reply = { htobe32(NBD_SIMPLE_REPLY_MAGIC), htobe32(error), htobe64(cookie) };

	say(&reply, sizeof(reply));
}

static void say_chunk(uint64_t cookie, uint16_t flags, uint16_t type, uint32_t length)
{
	struct nbd_chunk_header head = { htobe32(NBD_STRUCTURED_REPLY_MAGIC), htobe16(flags), htobe16(type),
		htobe64(cookie), htobe32(length) };

	say(&head, sizeof(head));
}

static void say64(uint64_t number)
{
	number = htobe64(number);
	say(&number, sizeof(number));
}

static void say32(uint32_t number)
{
	number = htobe32(number);
	say(&number, sizeof(number));
}

static void say16(uint16_t number)
{
	number = htobe16(number);
	say(&number, sizeof(number));
}

/* A byte of the export is its offset's lowest. */
static void say_data(uint64_t from, uint64_t length)
{
	for (uint64_t i = from; i < from + length; i++) {
		uint8_t byte = (uint8_t)i;

		say(&byte, 1);
	}
}

static void say_data_chunk(uint64_t cookie, uint16_t flags, uint64_t from, uint32_t length)
{
	say_chunk(cookie, flags, NBD_REPLY_TYPE_OFFSET_DATA, length + 8);
	say64(from);
	say_data(from, length);
}

static void say_hole(uint64_t cookie, uint16_t flags, uint64_t from, uint32_t length)
{
	say_chunk(cookie, flags, NBD_REPLY_TYPE_OFFSET_HOLE, 12);
	say64(from);
	say32(length);
}

static void say_error(uint64_t cookie, uint16_t flags, uint32_t error, const char *words)
{
	say_chunk(cookie, flags, NBD_REPLY_TYPE_ERROR, (uint32_t)(6 + strlen(words)));
	say32(error);
	say16((uint16_t)strlen(words));
	say(words, strlen(words));
}

/* -- how it is read ----------------------------------------------------------------------------------------------- */

/* Up to @most bytes, into where the reader wants them. */
static size_t receive_once(const uint8_t *from, size_t most)
{
	struct iovec iov[REPLY_READER_PIECES];
	unsigned foreign, count;
	size_t room, taken = 0;

	count = reply_reader_room(&rig.reader, iov, &foreign, &room);
	assert_true(count >= 1 && count <= REPLY_READER_PIECES && foreign <= count && room > 0);
	for (unsigned i = 0; i < count && taken < most; i++) {
		size_t here = most - taken < iov[i].iov_len ? most - taken : iov[i].iov_len;

		memcpy(iov[i].iov_base, from + taken, here);
		taken += here;
	}
	reply_reader_took(&rig.reader, taken);
	return taken;
}

/* What was said, @step bytes at a time. */
static enum reply_fault receive(size_t step)
{
	for (size_t at = 0; at < rig.length && !rig.reader.fault;)
		at += receive_once(rig.stream + at, rig.length - at < step ? rig.length - at : step);
	rig.length = 0;
	return rig.reader.fault;
}

static bool is_nobodys(unsigned at)
{
	return at < 8 || (at >= 32 && at < 64) || at >= 64 + LENGTH - 24;
}

static void check_margins(unsigned number)
{
	for (unsigned i = 0; i < sizeof(rig.memory[number]); i++)
		if (is_nobodys(i))
			assert_int_equal(rig.memory[number][i], UNTOUCHED);
}

static void check_byte(unsigned number, unsigned at, uint8_t right)
{
	assert_int_equal(rig.memory[number][at < 24 ? 8 + at : 64 + at - 24], right);
}

static void check_data(unsigned number)
{
	for (unsigned i = 0; i < LENGTH; i++)
		check_byte(number, i, (uint8_t)(OFFSET * number + i));
	check_margins(number);
}

static void check_answer(unsigned place, unsigned number, int status)
{
	assert_true(rig.answers > place);
	assert_ptr_equal(rig.answered[place], &rig.commands[number]);
	assert_int_equal(rig.answered[place]->status, status);
}

/* -- tests -------------------------------------------------------------------------------------------------------- */

static void replies_come_in_any_order(void **state)
{
	(void)state;
	for (size_t step = 1; step < 200; step += 13) {
		begin(false);
		for (unsigned i = 0; i < 3; i++)
			expect(i, BLOCK_READ);
		expect(3, BLOCK_FLUSH);
		say_simple(rig.commands[2].wire.cookie, 0);
		say_data(2 * OFFSET, LENGTH);
		say_simple(rig.commands[3].wire.cookie, 0);
		say_simple(rig.commands[0].wire.cookie, 0);
		say_data(0, LENGTH);
		say_simple(rig.commands[1].wire.cookie, NBD_ENOSPC);
		assert_int_equal(receive(step), REPLY_SOUND);
		check_answer(0, 2, 0);
		check_answer(1, 3, 0);
		check_answer(2, 0, 0);
		check_answer(3, 1, -ENOSPC);
		check_data(0);
		check_data(2);
		check_margins(1);
		end();
	}
}

/* Pieces out of order, holes, other replies in between, errors behind data. */
static void chunks_come_in_any_order(void **state)
{
	(void)state;
	for (size_t step = 1; step < 300; step += 11) {
		uint64_t first, second, third;

		begin(true);
		first = expect(0, BLOCK_READ)->wire.cookie;
		second = expect(1, BLOCK_READ)->wire.cookie;
		third = expect(2, BLOCK_READ)->wire.cookie;
		expect(3, BLOCK_WRITE);
		say_data_chunk(second, 0, OFFSET + 30, LENGTH - 30);
		say_hole(first, 0, 20, 10);
		say_data_chunk(third, 0, 2 * OFFSET, 10);
		say_data_chunk(second, NBD_REPLY_FLAG_DONE, OFFSET, 30);
		say_simple(rig.commands[3].wire.cookie, 0);
		say_data_chunk(first, 0, 30, LENGTH - 30);
		say_error(third, 0, NBD_ENOMEM, "no memory");
		say_data_chunk(first, 0, 0, 20);
		say_error(third, NBD_REPLY_FLAG_DONE, NBD_EIO, "");
		say_chunk(first, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0);
		assert_int_equal(receive(step), REPLY_SOUND);
		check_answer(0, 1, 0);
		check_answer(1, 3, 0);
		check_answer(2, 2, -ENOMEM);
		check_answer(3, 0, 0);
		check_data(1);
		check_margins(0);
		for (unsigned i = 0; i < LENGTH; i++)
			check_byte(0, i, i >= 20 && i < 30 ? 0 : (uint8_t)i);
		end();
	}
}

static void errors_may_have_words_and_offsets(void **state)
{
	char words[NBD_STRING_MAX + 1];

	(void)state;
	memset(words, 'x', sizeof(words));
	words[NBD_STRING_MAX] = '\0';
	for (size_t step = 1; step < 9000; step = step * 3 + 1) {
		begin(true);
		expect(0, BLOCK_READ);
		expect(1, BLOCK_ZERO);
		expect(2, BLOCK_TRIM);
		say_chunk(rig.commands[0].wire.cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR_OFFSET, 18);
		say32(NBD_EIO);
		say16(4);
		say("disk", 4);
		say64(8);
		say_error(rig.commands[1].wire.cookie, NBD_REPLY_FLAG_DONE, NBD_EPERM, words);
		/* A type of error that nobody knows, with more behind it, and a number that is no errno. */
		say_chunk(
			rig.commands[2].wire.cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR_BIT | 99, 10);
		say32(0x80000001u);
		say16(0);
		say32(7);
		assert_int_equal(receive(step), REPLY_SOUND);
		check_answer(0, 0, -EIO);
		check_answer(1, 1, -EPERM);
		check_answer(2, 2, -EIO);
		end();
	}
}

/* What a server says wrongly, of command 0: a read, where no other is given. */
static void say_bad_magic(uint64_t cookie)
{
	say32(0x12345678);
	say32(0);
	say64(cookie);
}

static void say_chunk_unasked(uint64_t cookie)
{
	say_chunk(cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0);
}

static void say_unknown_cookie(uint64_t cookie)
{
	say_simple(cookie ^ 1, 0);
}

static void say_place_past_the_pool(uint64_t cookie)
{
	say_simple(cookie | 0xffff, 0);
}

static void say_zero_cookie(uint64_t cookie)
{
	(void)cookie;
	say_simple(0, 0);
}

static void say_next_generation(uint64_t cookie)
{
	say_simple(cookie + (1 << 16), 0);
}

static void say_twice(uint64_t cookie)
{
	say_error(cookie, NBD_REPLY_FLAG_DONE, NBD_EIO, "");
	say_error(cookie, NBD_REPLY_FLAG_DONE, NBD_EIO, "");
}

static void say_simple_data(uint64_t cookie)
{
	say_simple(cookie, 0);
	say_data(0, LENGTH);
}

static void say_block_status(uint64_t cookie)
{
	say_chunk(cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_BLOCK_STATUS, 12);
	say64(0);
	say32(0);
}

static void say_unknown_type(uint64_t cookie)
{
	say_chunk(cookie, NBD_REPLY_FLAG_DONE, 3, 0);
}

static void say_none_with_payload(uint64_t cookie)
{
	say_chunk(cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 1);
}

static void say_none_that_goes_on(uint64_t cookie)
{
	say_chunk(cookie, 0, NBD_REPLY_TYPE_NONE, 0);
}

static void say_no_data(uint64_t cookie)
{
	say_chunk(cookie, 0, NBD_REPLY_TYPE_OFFSET_DATA, 8);
	say64(0);
}

static void say_long_hole(uint64_t cookie)
{
	say_chunk(cookie, 0, NBD_REPLY_TYPE_OFFSET_HOLE, 16);
}

static void say_empty_hole(uint64_t cookie)
{
	say_hole(cookie, 0, 0, 0);
}

static void say_data_before(uint64_t cookie)
{
	say_data_chunk(cookie, NBD_REPLY_FLAG_DONE, UINT64_MAX, 1);
}

static void say_data_behind(uint64_t cookie)
{
	say_data_chunk(cookie, NBD_REPLY_FLAG_DONE, 1, LENGTH);
}

static void say_hole_behind(uint64_t cookie)
{
	say_hole(cookie, NBD_REPLY_FLAG_DONE, LENGTH, 1);
}

static void say_endless_hole(uint64_t cookie)
{
	say_hole(cookie, NBD_REPLY_FLAG_DONE, 1, UINT32_MAX);
}

static void say_data_twice(uint64_t cookie)
{
	say_data_chunk(cookie, 0, 0, LENGTH);
	say_data_chunk(cookie, NBD_REPLY_FLAG_DONE, 0, 1);
}

static void say_too_little(uint64_t cookie)
{
	say_data_chunk(cookie, 0, 0, LENGTH - 1);
	say_chunk(cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0);
}

static void say_only_done(uint64_t cookie)
{
	say_chunk(cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0);
}

static void say_error_0(uint64_t cookie)
{
	say_error(cookie, NBD_REPLY_FLAG_DONE, 0, "success");
}

static void say_short_error(uint64_t cookie)
{
	say_chunk(cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, 5);
}

static void say_endless_error(uint64_t cookie)
{
	say_chunk(cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, 1 << 20);
}

static void say_words_behind_the_end(uint64_t cookie)
{
	say_chunk(cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, 8);
	say32(NBD_EIO);
	say16(3);
	say16(0);
}

static void say_error_without_its_offset(uint64_t cookie)
{
	say_chunk(cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR_OFFSET, 10);
	say32(NBD_EIO);
	say16(0);
	say32(0);
}

static void say_shutdown(uint64_t cookie)
{
	say_error(cookie, NBD_REPLY_FLAG_DONE, NBD_ESHUTDOWN, "");
}

static void say_simple_shutdown(uint64_t cookie)
{
	say_simple(cookie, NBD_ESHUTDOWN);
}

static const struct wrong {
	bool structured;
	enum block_op op;
	void (*say)(uint64_t cookie);
	enum reply_fault fault;
} wrongs[] = {
	{ true, BLOCK_READ, say_bad_magic, REPLY_FAULT_magic },
	{ false, BLOCK_WRITE, say_chunk_unasked, REPLY_FAULT_unasked_chunk },
	{ false, BLOCK_READ, say_unknown_cookie, REPLY_FAULT_cookie },
	{ false, BLOCK_READ, say_place_past_the_pool, REPLY_FAULT_cookie },
	{ false, BLOCK_READ, say_zero_cookie, REPLY_FAULT_cookie },
	{ false, BLOCK_READ, say_next_generation, REPLY_FAULT_cookie },
	{ true, BLOCK_READ, say_twice, REPLY_FAULT_cookie },
	{ true, BLOCK_READ, say_simple_data, REPLY_FAULT_simple_read },
	{ true, BLOCK_READ, say_block_status, REPLY_FAULT_chunk_type },
	{ true, BLOCK_READ, say_unknown_type, REPLY_FAULT_chunk_type },
	{ true, BLOCK_WRITE, say_none_with_payload, REPLY_FAULT_chunk_length },
	{ true, BLOCK_WRITE, say_none_that_goes_on, REPLY_FAULT_chunk_not_done },
	{ true, BLOCK_READ, say_no_data, REPLY_FAULT_chunk_length },
	{ true, BLOCK_READ, say_long_hole, REPLY_FAULT_chunk_length },
	{ true, BLOCK_READ, say_empty_hole, REPLY_FAULT_chunk_length },
	{ true, BLOCK_WRITE, say_too_little, REPLY_FAULT_not_a_read },
	{ true, BLOCK_ZERO, say_empty_hole, REPLY_FAULT_chunk_length },
	{ true, BLOCK_ZERO, say_hole_behind, REPLY_FAULT_not_a_read },
	{ true, BLOCK_READ, say_data_before, REPLY_FAULT_outside },
	{ true, BLOCK_READ, say_data_behind, REPLY_FAULT_outside },
	{ true, BLOCK_READ, say_hole_behind, REPLY_FAULT_outside },
	{ true, BLOCK_READ, say_endless_hole, REPLY_FAULT_outside },
	{ true, BLOCK_READ, say_data_twice, REPLY_FAULT_twice },
	{ true, BLOCK_READ, say_too_little, REPLY_FAULT_missing },
	{ true, BLOCK_READ, say_only_done, REPLY_FAULT_missing },
	{ true, BLOCK_READ, say_error_0, REPLY_FAULT_no_error },
	{ true, BLOCK_READ, say_short_error, REPLY_FAULT_chunk_length },
	{ true, BLOCK_READ, say_endless_error, REPLY_FAULT_chunk_length },
	{ true, BLOCK_READ, say_words_behind_the_end, REPLY_FAULT_chunk_length },
	{ true, BLOCK_READ, say_error_without_its_offset, REPLY_FAULT_chunk_length },
	{ true, BLOCK_READ, say_shutdown, REPLY_FAULT_shutdown },
	{ false, BLOCK_WRITE, say_simple_shutdown, REPLY_FAULT_shutdown },
};

static void what_is_wrong_ends_the_connection(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(wrongs) / sizeof(*wrongs); i++) {
		for (size_t step = 1; step < 200; step += 50) {
			begin(wrongs[i].structured);
			wrongs[i].say(expect(0, wrongs[i].op)->wire.cookie);
			assert_int_equal(receive(step), wrongs[i].fault);
			assert_non_null(reply_fault_words(wrongs[i].fault));
			assert_int_equal(rig.answers, wrongs[i].say == say_twice);
			check_margins(0);
			end();
		}
	}
}

/* The next command in the same place has another cookie. */
static void a_late_reply_is_recognised(void **state)
{
	uint64_t before;

	(void)state;
	begin(false);
	before = expect(0, BLOCK_FLUSH)->wire.cookie;
	say_simple(before, 0);
	assert_int_equal(receive(1000), REPLY_SOUND);
	check_answer(0, 0, 0);
	assert_true(expect(0, BLOCK_READ)->wire.cookie != before);
	say_simple(before, 0);
	say_data(0, LENGTH);
	assert_int_equal(receive(1000), REPLY_FAULT_cookie);
	check_margins(0);
	check_byte(0, 0, UNTOUCHED);
	end();
}

/* Its data is still being sent: it cannot be given back. */
static void a_reply_to_half_a_request_is_recognised(void **state)
{
	(void)state;
	begin(false);
	say_simple(expect(0, BLOCK_WRITE)->wire.cookie, NBD_EIO);
	rig.commands[0].wire.sent_at = 100;
	rig.reader.sent = 99;
	assert_int_equal(receive(1000), REPLY_FAULT_early);
	assert_int_equal(rig.answers, 0);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies_come_in_any_order),
		cmocka_unit_test(chunks_come_in_any_order),
		cmocka_unit_test(errors_may_have_words_and_offsets),
		cmocka_unit_test(what_is_wrong_ends_the_connection),
		cmocka_unit_test(a_late_reply_is_recognised),
		cmocka_unit_test(a_reply_to_half_a_request_is_recognised),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
