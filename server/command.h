/* server/command.h -- an NBD command as bytes, and what it asks of a disk: pure functions over foreign bytes.
 * Spec: proto.md, "Request message", "Command flags", "Request types", "Error values".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cache/disk.h"
#include "server/dialect.h"
#include "server/nbd_wire.h"

/* In host order, not checked. */
struct command {
	uint16_t type, flags;
	uint64_t cookie, offset;
	uint64_t length;  /* of the bytes it is about; with NBD_CMD_FLAG_PAYLOAD_LEN as payload */
	uint64_t payload; /* bytes that follow, be it valid or not */
};

/* Bytes of a request's header. */
static inline size_t command_header_size(enum headers headers)
{
	return headers == HEADERS_EXTENDED ? sizeof(struct nbd_extended_request_header)
					   : sizeof(struct nbd_request_header);
}

/* @bytes: command_header_size(). Returns 0, or -EBADMSG for a wrong magic number: the stream is out of step. */
int command_parse(const uint8_t *bytes, enum headers headers, struct command *out);

/* Whether @command is a block status whose payload says what it is about: command_check_contexts() has to follow. */
static inline bool command_names_contexts(const struct command *command)
{
	return command->type == NBD_CMD_BLOCK_STATUS && command->flags & NBD_CMD_FLAG_PAYLOAD_LEN;
}

/* command_check() - whether a client may ask this of a disk with these facts.
 * @dialect: flags and commands that were not negotiated are not valid.
 * @block: gets op, flags, offset and length; nothing else is touched.
 *
 * Returns 0, with NULL in @why; or with the reason in @why, a constant, for the client:
 * -EINVAL: an unknown command, one that was not offered, a flag that does not belong to it or was not offered; a flush
 * with a range; a length of 0 ("unspecified" in proto.md: as an error it cannot be mistaken for data moved); off the
 * block grid; longer than the maximum payload; anything but a write or zero past the end;
 * -EROFS: a change to a readonly disk; -ENOSPC: a write or zero past the end. */
int command_check(const struct command *command, const struct disk_facts *facts, struct dialect dialect,
	struct block_req *block, const char **why);

/* The longest payload of a block status that can be right: a length, and the id of each context there is. */
#define COMMAND_CONTEXTS_MAX (sizeof(uint64_t) + META_CONTEXTS * sizeof(uint32_t))

/* command_check_contexts() - the rest of the check of a @command that names contexts and passed command_check().
 * @payload: command->payload bytes.
 * @contexts: gets META_BIT() of those it names: if none, there is nothing to be told.
 * Returns as command_check(); -EINVAL also for contexts that are unknown, not selected, or named twice. */
int command_check_contexts(const struct command *command, const struct disk_facts *facts,
	struct dialect dialect, const uint8_t *payload, struct block_req *block, unsigned *contexts,
	const char **why);

/* nbd_error_of() - the error value for @status, 0 or -errno. */
enum nbd_error nbd_error_of(int status);
