/* Any bytes from a server, received in any pieces, with commands in flight: nothing is written but the data of reads in
 * flight, each command is answered once at most, a read that succeeds has all its bytes, and after a fault nothing
 * happens any more. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "client/reply_reader.h"
#include "input.h"
#include "server/nbd_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COMMANDS = 8, LENGTH_MAX = 16384, PIECES = 4 };

static struct rig {
	struct reply_reader reader;
	struct engine_owner owner;
	struct command commands[COMMANDS];
	struct block_req reqs[COMMANDS];
	struct iovec iov[COMMANDS][PIECES];
	uint8_t *memory[COMMANDS]; /* owned: exactly the pieces, so that the sanitizer sees a byte too far */
} rig;

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void on_answered(struct engine_owner *owner, struct command *command)
{
	require(owner == &rig.owner && command->wire.cookie == 0);
	require(!rig.reader.fault);
	require(command->status || command->type != NBD_CMD_READ ||
		command->wire.received == command->length);
}

/* A command of any kind, in pieces. */
static void expect(struct input *input, unsigned number)
{
	static const enum block_op ops[] = { BLOCK_READ, BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_ZERO };
	static const struct command_limits limits = { LENGTH_MAX, true, true };
	struct command *command = &rig.commands[number];
	struct block_req *req = &rig.reqs[number];
	size_t length = 1 + next(input, 2) % LENGTH_MAX, left = length;

	free(rig.memory[number]);
	rig.memory[number] = malloc(length);
	*req = (struct block_req){ .op = ops[next(input, 1) % 5], .iov = rig.iov[number] };
	req->offset = next(input, 1) << 9;
	req->length = length;
	while (left) {
		size_t piece = req->iov_count + 1 == PIECES ? left : 1 + next(input, 2) % left;

		req->iov[req->iov_count++] = (struct iovec){ rig.memory[number] + length - left, piece };
		left -= piece;
	}
	command_start(command, req);
	require(command_prepare(command, &limits, NULL));
	reply_reader_expect(&rig.reader, command);
	command->wire.sent_at = next(input, 1) % 64 ? 0 : 1;
}

static void refill(struct input *input)
{
	for (unsigned i = 0; i < COMMANDS; i++)
		if (!rig.commands[i].wire.cookie)
			expect(input, i);
}

/* A good share of the cookies are of commands that are there. */
static void mend_cookie(struct input *input, uint8_t *bytes, size_t length)
{
	uint64_t cookie = htobe64(rig.commands[next(input, 1) % COMMANDS].wire.cookie);

	if (length >= 16 && next(input, 1) % 8)
		memcpy(bytes + 8, &cookie, sizeof(cookie));
}

static size_t receive(const uint8_t *from, size_t most)
{
	struct iovec iov[REPLY_READER_PIECES];
	unsigned foreign, count;
	size_t room, sum = 0, taken = 0;

	count = reply_reader_room(&rig.reader, iov, &foreign, &room);
	require(count >= 1 && count <= REPLY_READER_PIECES && foreign <= count);
	for (unsigned i = 0; i < count; i++)
		sum += iov[i].iov_len;
	require(sum == room && room > 0);
	for (unsigned i = 0; i < count && taken < most; i++) {
		size_t here = most - taken < iov[i].iov_len ? most - taken : iov[i].iov_len;

		memcpy(iov[i].iov_base, from + taken, here);
		taken += here;
	}
	reply_reader_took(&rig.reader, taken);
	return taken;
}

/* The input says how much comes at once, and then what. */
static void converse(struct input *input)
{
	static uint8_t bytes[65536];

	while (input->size && !rig.reader.fault) {
		size_t length = 1 + next(input, 1) % 64, at = 0;

		if (length == 64)
			length = 1 + next(input, 2);
		for (size_t i = 0; i < length; i++)
			bytes[i] = (uint8_t)next(input, i < 64);
		mend_cookie(input, bytes, length);
		while (at < length && !rig.reader.fault)
			at += receive(bytes + at, length - at);
		if (!rig.reader.fault)
			refill(input);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct command_pool pool = { rig.commands, COMMANDS };

	rig.owner.answered = on_answered;
	require(reply_reader_init(&rig.reader, next(&input, 1) & 1, pool, &rig.owner) == 0);
	refill(&input);
	converse(&input);
	reply_reader_fini(&rig.reader);
	return 0;
}
