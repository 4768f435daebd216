/* client/command.h -- one block request as the NBD commands that carry it out, one after the other.
 *
 * Most requests are one command. More: data longer than the server or a flat buffer takes, a range longer than NBD's
 * 32 bits, and a flush after it where the request has FUA and the server has none.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cache/block.h"
#include "client/flat.h"

/* The longest effect of a command without data: NBD has 32 bits, and this is a multiple of every block size. */
#define COMMAND_EFFECT_MAX (UINT32_MAX & ~(BLOCK_SIZE_MIN_MAX - 1))

/* No server's minimum block size may be larger. Spec: NBD proto.md, "Block size constraints". */
#define BLOCK_SIZE_MIN_MAX 65536u

enum command_part { COMMAND_RANGE, COMMAND_FLUSH_AFTER };

struct command {
	uint32_t magic;
	struct command *next, *previous; /* in one list of its link, see link_parts.h */
	struct block_req *req;		 /* borrowed: until it is done */
	struct engine *engine;		 /* borrowed: the one that has it in flight, which sets it */

	/* How far the request has come; command_restart() forgets it. */
	enum command_part part;
	uint64_t carried_out; /* bytes of the request that earlier commands have */
	uint64_t effect_max;  /* for commands without data, on this connection */

	/* The command that is sent or about to be: command_prepare() writes it. */
	uint16_t type;	/* enum nbd_cmd */
	uint16_t flags; /* enum nbd_cmd_flags */
	uint64_t offset, length;
	void *flat; /* owned: from the link's pool, for @length bytes; NULL: none */
	int status; /* of the answered command: 0 or -errno */

	/* The engine's that has the command in flight; but for received, the socket engine's alone. */
	struct {
		uint64_t cookie;   /* 0: not in flight */
		uint64_t sent_at;  /* bytes of the connection up to the command's last */
		uint64_t received; /* bytes of a read's data so far */
		int status;	   /* 0, or the first error that a chunk told */
	} wire;

	uint64_t mark; /* of a flush: see replay_mark(), when it was sent */
	bool reserved; /* there is room for it in the link's replay; command_start() forgets it */
	bool recalled; /* the request's submitter wants it back rather than sent again; command_start() forgets it */
};

/* What this connection takes in one command. */
struct command_limits {
	uint32_t data_max; /* bytes, a multiple of the minimum block size */
	bool native_fua;   /* the server has FUA; otherwise a flush follows */
	bool scatters;	   /* the engine takes data in several pieces; otherwise a flat buffer makes it one */
};

void command_start(struct command *command, struct block_req *req);

/* command_restart() - the connection is lost, and with it perhaps what it carried out: begin with the first byte.
 * The flat buffer, if there is one, goes back to @pool. */
void command_restart(struct command *command, struct flat_pool *pool);

/* command_cut() - how long the next command of this request is; 0 for a flush. Data that lies scattered is cut to
 * FLAT_LENGTH_MAX, if it has to be made one piece. */
uint64_t command_cut(const struct command *command, const struct command_limits *limits);

/* command_prepare() - set type, flags, offset, length and flat for the next command.
 * Returns false: it needs a flat buffer and none is free; nothing has changed. */
bool command_prepare(struct command *command, const struct command_limits *limits, struct flat_pool *pool);

/* command_data() - where the prepared command's data lies: the @length bytes from byte @at of it on, as up to @max pieces
 * in @out; @length > 0. Returns how many pieces there are; @max is what they have room in if that is all. */
unsigned command_data(
	const struct command *command, uint64_t at, uint64_t length, struct iovec *out, unsigned max);

/* command_fill() - data that came for a read: @length bytes, from byte @at of the prepared command on. */
void command_fill(struct command *command, uint64_t at, const void *data, uint64_t length);

/* command_clear() - the same where they are zeroes. */
void command_clear(struct command *command, uint64_t at, uint64_t length);

/* command_flat_data() - where it lies in one piece: limits->scatters was false. */
void *command_flat_data(const struct command *command);

/* command_advance() - take in command->status, the answer to the command that was issued; the flat buffer is emptied
 * and goes back to @pool.
 * Returns true: another command has to follow; false: the request ends with command->status. */
bool command_advance(struct command *command, const struct command_limits *limits, struct flat_pool *pool);

/* command_of() - from libnbd's user_data; asserts that it is one. */
struct command *command_of(void *user_data);
