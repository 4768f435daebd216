/* client/reply_reader.h -- from a server's bytes to answered commands and data where it belongs; no system calls.
 *
 *	count = reply_reader_room(reader, iov);		receive into these, in this order,
 *	reply_reader_took(reader, received);		and tell how many bytes came
 *
 * What comes is hostile: it reaches only memory of reads in flight that the server answers, and only the bytes that it
 * names of them; each read succeeds with as many bytes as it asked for, or not at all.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "client/command.h"
#include "client/engine.h"

/* Received at once: about what a busy queue's replies fill, and within the processor's second cache. */
#define REPLY_READER_BYTES (256u << 10)

/* Pieces of memory received into at once. */
#define REPLY_READER_PIECES 128u

enum reply_fault {
	REPLY_SOUND,
#define REPLY_FAULT(name, words) REPLY_FAULT_##name,
#include "client/reply_faults.def"
#undef REPLY_FAULT
	REPLY_FAULTS,
};

const char *reply_fault_words(enum reply_fault fault);

struct reply_reader {
	struct command_pool pool;
	struct engine_owner *owner; /* borrowed: the engine's */
	bool structured;	    /* as negotiated */
	enum reply_fault fault;	    /* the first; nothing is taken after it */
	uint64_t sent;		    /* bytes of requests that have left, see command->wire.sent_at */
	uint64_t issued;	    /* commands, so far: no cookie comes again */

	uint8_t *bytes; /* owned: mapping + START */
	size_t start, end;

	/* Data whose head has come, and which follows. */
	struct {
		struct command *command; /* borrowed: NULL: none */
		uint64_t at, left;	 /* bytes of the command's data */
		bool is_last;		 /* the command is answered with it */
	} data;

	/* Of the reads in flight, for how much to receive at once. */
	uint64_t reads, read_bytes;
};

/* Returns 0, or -ENOMEM. */
int reply_reader_init(
	struct reply_reader *reader, bool structured, struct command_pool pool, struct engine_owner *owner);
void reply_reader_fini(struct reply_reader *reader);

/* reply_reader_expect() - @command is in flight from now on: gives it its cookie. wire.sent_at is the caller's to set. */
void reply_reader_expect(struct reply_reader *reader, struct command *command);

/* reply_reader_room() - where the next bytes go, as up to REPLY_READER_PIECES pieces in @iov.
 * @bytes: gets the sum: a receive that brings less has emptied the socket.
 * Returns how many pieces; the first @foreign of them are in commands' memory, which may be foreign. */
unsigned reply_reader_room(
	const struct reply_reader *reader, struct iovec *iov, unsigned *foreign, size_t *bytes);

/* reply_reader_took() - @received bytes were put there. Answers commands.
 * Returns REPLY_SOUND, or the fault that ends the connection. */
enum reply_fault reply_reader_took(struct reply_reader *reader, size_t received);
