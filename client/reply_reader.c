/* client/reply_reader.c -- replies out of a buffer; large data past it.
 *
 * R1  A command is written to, or answered, only while its cookie is in flight: cookies are numbered, so one that comes
 *     late or twice names nothing.
 * R2  Bytes of data that are in the buffer already are copied to their place; those that are still to come are received
 *     there. In between the buffer is empty.
 * R3  A command that has not left whole is not answered: its memory is still being sent.
 * R4  What is left in the buffer between receives is less than the longest head with its payload, HEAD_MAX.
 */
#include "client/reply_reader.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "client/nbd_error.h"
#include "server/nbd_wire.h"

/* A copy runs several times slower where source and target lie a few bytes apart in their pages; guest data mostly
 * starts a page, so the buffer starts well inside one. */
#define START	     512u
#define MAPPING_SIZE (REPLY_READER_BYTES + START)

/* Where reads are larger than this on average, so little is received behind their data that most of the next one's goes
 * straight to its place. */
#define BULK_MIN   (32u << 10)
#define BULK_BYTES 4096u

#define ERROR_FIXED  (sizeof(uint32_t) + sizeof(uint16_t)) /* error, length of its words */
#define ERROR_OFFSET sizeof(uint64_t)
#define ERROR_MAX    (ERROR_FIXED + NBD_STRING_MAX + ERROR_OFFSET)
#define HEAD_MAX     (sizeof(struct nbd_chunk_header) + ERROR_MAX)
static_assert(HEAD_MAX + BULK_BYTES <= REPLY_READER_BYTES, "R4: every head fits");

/* A cookie: the command's place in the pool, below the number of its issue. */
#define PLACE_BITS 16
static_assert(ENGINE_COMMANDS_MAX == 1u << PLACE_BITS, "every place has its bits");

const char *reply_fault_words(enum reply_fault fault)
{
	static const char *const words[REPLY_FAULTS] = {
#define REPLY_FAULT(name, words) [REPLY_FAULT_##name] = (words),
#include "client/reply_faults.def"
#undef REPLY_FAULT
	};

	return words[fault];
}

int reply_reader_init(
	struct reply_reader *reader, bool structured, struct command_pool pool, struct engine_owner *owner)
{
	void *mapping = mmap(NULL, MAPPING_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mapping == MAP_FAILED)
		return -ENOMEM;
	assert(pool.count <= ENGINE_COMMANDS_MAX);
	*reader = (struct reply_reader){
		.pool = pool, .owner = owner, .structured = structured, .bytes = (uint8_t *)mapping + START
	};
	for (unsigned i = 0; i < pool.count; i++)
		pool.commands[i].wire.cookie = 0;
	return 0;
}

void reply_reader_fini(struct reply_reader *reader)
{
	munmap(reader->bytes - START, MAPPING_SIZE);
}

/* -- commands ----------------------------------------------------------------------------------------------------- */

void reply_reader_expect(struct reply_reader *reader, struct command *command)
{
	uint64_t place = (uint64_t)(command - reader->pool.commands);

	command->wire.cookie = ++reader->issued << PLACE_BITS | place;
	command->wire.received = 0;
	command->wire.status = 0;
	if (command->type == NBD_CMD_READ) {
		reader->reads++;
		reader->read_bytes += command->length;
	}
}

/* R1; NULL: none. */
static struct command *find(const struct reply_reader *reader, uint64_t cookie)
{
	uint64_t place = cookie & (ENGINE_COMMANDS_MAX - 1);
	struct command *command = &reader->pool.commands[place];

	return cookie && place < reader->pool.count && command->wire.cookie == cookie ? command : NULL;
}

static void fail(struct reply_reader *reader, enum reply_fault fault)
{
	reader->fault = fault;
}

static void answer(struct reply_reader *reader, struct command *command)
{
	if (command->type == NBD_CMD_READ) {
		reader->reads--;
		reader->read_bytes -= command->length;
	}
	command->status = command->wire.status;
	command->wire.cookie = 0;
	reader->owner->answered(reader->owner, command);
}

/* The reply's last piece has come. */
static void finish(struct reply_reader *reader, struct command *command)
{
	bool wants_data = command->type == NBD_CMD_READ && command->wire.status == 0;

	if (wants_data && command->wire.received != command->length)
		fail(reader, REPLY_FAULT_missing);
	else
		answer(reader, command);
}

/* Any error that is a server's may come more than once: the first counts. */
static void note_error(struct reply_reader *reader, struct command *command, uint32_t error)
{
	if (error == NBD_ESHUTDOWN)
		fail(reader, REPLY_FAULT_shutdown);
	else if (error && command->wire.status == 0)
		command->wire.status = errno_of_nbd(error);
}

/* -- data --------------------------------------------------------------------------------------------------------- */

/* Counts the @length bytes at @offset of the export towards a read. Returns false where they do not belong to it. */
static bool claim(struct reply_reader *reader, struct command *command, uint64_t offset, uint64_t length)
{
	if (command->type != NBD_CMD_READ)
		fail(reader, REPLY_FAULT_not_a_read);
	else if (offset < command->offset || offset - command->offset > command->length ||
		 length > command->length - (offset - command->offset))
		fail(reader, REPLY_FAULT_outside);
	else if (length > command->length - command->wire.received)
		fail(reader, REPLY_FAULT_twice);
	else
		command->wire.received += length;
	return reader->fault == REPLY_SOUND;
}

static void data_took(struct reply_reader *reader, uint64_t bytes)
{
	struct command *command = reader->data.command;

	reader->data.at += bytes;
	reader->data.left -= bytes;
	if (reader->data.left)
		return;
	reader->data.command = NULL;
	if (reader->data.is_last)
		finish(reader, command);
}

/* R2: the part of it that is here. */
static void data_begin(
	struct reply_reader *reader, struct command *command, uint64_t at, uint64_t length, bool is_last)
{
	size_t here = reader->end - reader->start;

	if (here > length)
		here = length;
	reader->data.command = command;
	reader->data.at = at;
	reader->data.left = length;
	reader->data.is_last = is_last;
	command_fill(command, at, reader->bytes + reader->start, here);
	reader->start += here;
	data_took(reader, here);
}

/* -- simple replies ----------------------------------------------------------------------------------------------- */

static void take_simple(struct reply_reader *reader, struct command *command, const uint8_t *head)
{
	uint32_t error = nbd_get32(head + offsetof(struct nbd_simple_reply, error));

	reader->start += sizeof(struct nbd_simple_reply);
	note_error(reader, command, error);
	if (reader->fault != REPLY_SOUND)
		return;
	if (command->type != NBD_CMD_READ || error)
		finish(reader, command);
	else if (reader->structured)
		fail(reader, REPLY_FAULT_simple_read);
	else if (claim(reader, command, command->offset, command->length))
		data_begin(reader, command, 0, command->length, true);
}

/* -- chunks ------------------------------------------------------------------------------------------------------- */

struct chunk {
	struct command *command;
	uint16_t type;
	uint32_t length;	/* of its payload */
	const uint8_t *payload; /* as much of it as its type has at the beginning */
	bool done;
};

static void take_none(struct reply_reader *reader, const struct chunk *chunk)
{
	if (chunk->done)
		finish(reader, chunk->command);
	else
		fail(reader, REPLY_FAULT_chunk_not_done);
}

static void take_data(struct reply_reader *reader, const struct chunk *chunk)
{
	uint64_t offset = nbd_get64(chunk->payload), length = chunk->length - sizeof(offset);
	struct command *command = chunk->command;

	if (claim(reader, command, offset, length))
		data_begin(reader, command, offset - command->offset, length, chunk->done);
}

static void take_hole(struct reply_reader *reader, const struct chunk *chunk)
{
	uint64_t offset = nbd_get64(chunk->payload);
	uint32_t length = nbd_get32(chunk->payload + sizeof(offset));
	struct command *command = chunk->command;

	if (!length) {
		fail(reader, REPLY_FAULT_chunk_length);
		return;
	}
	if (!claim(reader, command, offset, length))
		return;
	command_clear(command, offset - command->offset, length);
	if (chunk->done)
		finish(reader, command);
}

/* Known ones and others: all begin alike. */
static void take_error(struct reply_reader *reader, const struct chunk *chunk)
{
	uint32_t error = nbd_get32(chunk->payload);
	size_t words = nbd_get16(chunk->payload + sizeof(error));
	size_t fixed = chunk->type == NBD_REPLY_TYPE_ERROR_OFFSET ? ERROR_FIXED + ERROR_OFFSET : ERROR_FIXED;

	if (chunk->length < fixed + words)
		fail(reader, REPLY_FAULT_chunk_length);
	else if (!error)
		fail(reader, REPLY_FAULT_no_error);
	else
		note_error(reader, chunk->command, error);
	if (chunk->done && reader->fault == REPLY_SOUND)
		finish(reader, chunk->command);
}

struct chunk_kind {
	uint32_t length_min, length_max;
	uint32_t beginning; /* bytes of the payload that have to be here; 0: all */
	void (*take)(struct reply_reader *reader, const struct chunk *chunk);
};

/* NULL: none that a client without extended headers and metadata contexts may see. */
static const struct chunk_kind *kind_of(uint16_t type)
{
	static const struct chunk_kind kinds[] = {
		[NBD_REPLY_TYPE_NONE] = { 0, 0, 0, take_none },
		[NBD_REPLY_TYPE_OFFSET_DATA] = { 9, UINT32_MAX, 8, take_data },
		[NBD_REPLY_TYPE_OFFSET_HOLE] = { 12, 12, 0, take_hole },
	};
	static const struct chunk_kind error = { ERROR_FIXED, ERROR_MAX, 0, take_error };

	if (type & NBD_REPLY_TYPE_ERROR_BIT)
		return &error;
	return type < sizeof(kinds) / sizeof(kinds[0]) ? &kinds[type] : NULL;
}

/* Returns false where it is not all here. */
static bool take_chunk(struct reply_reader *reader, struct command *command, const uint8_t *head, size_t here)
{
	struct chunk chunk = {
		.command = command,
		.type = nbd_get16(head + offsetof(struct nbd_chunk_header, type)),
		.length = nbd_get32(head + offsetof(struct nbd_chunk_header, length)),
		.payload = head + sizeof(struct nbd_chunk_header),
		.done = nbd_get16(head + offsetof(struct nbd_chunk_header, flags)) & NBD_REPLY_FLAG_DONE,
	};
	const struct chunk_kind *kind = kind_of(chunk.type);
	size_t needed = sizeof(struct nbd_chunk_header);

	if (!kind)
		fail(reader, REPLY_FAULT_chunk_type);
	else if (chunk.length < kind->length_min || chunk.length > kind->length_max)
		fail(reader, REPLY_FAULT_chunk_length);
	if (reader->fault != REPLY_SOUND)
		return false;
	needed += kind->beginning ? kind->beginning : chunk.length;
	if (here < needed)
		return false;
	reader->start += needed;
	kind->take(reader, &chunk);
	return true;
}

/* -- the buffer --------------------------------------------------------------------------------------------------- */

/* Returns false where the next reply is not all here, or is at fault. */
static bool take_reply(struct reply_reader *reader)
{
	const uint8_t *head = reader->bytes + reader->start;
	size_t here = reader->end - reader->start;
	bool is_chunk;
	struct command *command;

	/* The shorter of both heads: magic and cookie stand at the same places. */
	if (here < sizeof(struct nbd_simple_reply))
		return false;
	is_chunk = nbd_get32(head) == NBD_STRUCTURED_REPLY_MAGIC;
	command = find(reader, nbd_get64(head + offsetof(struct nbd_simple_reply, cookie)));
	if (!is_chunk && nbd_get32(head) != NBD_SIMPLE_REPLY_MAGIC)
		fail(reader, REPLY_FAULT_magic);
	else if (is_chunk && !reader->structured)
		fail(reader, REPLY_FAULT_unasked_chunk);
	else if (!command)
		fail(reader, REPLY_FAULT_cookie);
	else if (command->wire.sent_at > reader->sent)
		fail(reader, REPLY_FAULT_early); /* R3 */
	if (reader->fault != REPLY_SOUND)
		return false;
	if (is_chunk)
		return here >= sizeof(struct nbd_chunk_header) && take_chunk(reader, command, head, here);
	take_simple(reader, command, head);
	return true;
}

/* R4 */
static void keep_rest(struct reply_reader *reader)
{
	size_t rest = reader->end - reader->start;

	assert(rest < HEAD_MAX);
	if (reader->start)
		memmove(reader->bytes, reader->bytes + reader->start, rest);
	reader->start = 0;
	reader->end = rest;
}

static size_t room_behind(const struct reply_reader *reader)
{
	bool bulk = reader->reads && reader->read_bytes / reader->reads > BULK_MIN;

	return bulk ? BULK_BYTES : REPLY_READER_BYTES - reader->end;
}

unsigned reply_reader_room(
	const struct reply_reader *reader, struct iovec *iov, unsigned *foreign, size_t *bytes)
{
	unsigned count = 0;
	size_t room = room_behind(reader);

	*bytes = 0;
	if (reader->data.command)
		count = command_data(reader->data.command, reader->data.at, reader->data.left, iov,
			REPLY_READER_PIECES - 1);
	for (unsigned i = 0; i < count; i++)
		*bytes += iov[i].iov_len;
	*foreign = count;
	/* Behind the data, but not in place of what did not fit. */
	if (reader->data.command && *bytes < reader->data.left)
		return count;
	iov[count] = (struct iovec){ reader->bytes + reader->end, room };
	*bytes += room;
	return count + 1;
}

enum reply_fault reply_reader_took(struct reply_reader *reader, size_t received)
{
	size_t direct = 0;

	if (reader->data.command) {
		direct = received < reader->data.left ? received : reader->data.left;
		data_took(reader, direct);
	}
	reader->end += received - direct;
	while (reader->fault == REPLY_SOUND && !reader->data.command && take_reply(reader))
		;
	if (reader->fault == REPLY_SOUND)
		keep_rest(reader);
	return reader->fault;
}
