/* server/command.h -- an NBD command as bytes, and what it asks of a disk: pure functions over foreign bytes.
 * Spec: proto.md, "Request message", "Command flags", "Request types", "Error values".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cache/disk.h"
#include "server/nbd_wire.h"

/* In host order, not checked. */
struct command {
	uint16_t type, flags;
	uint64_t cookie, offset;
	uint32_t length;
};

/* Returns 0, or -EBADMSG for a wrong magic number: the stream is out of step. */
int command_parse(const uint8_t bytes[sizeof(struct nbd_request_header)], struct command *out);

/* Whether @command is followed by length bytes of data, be it valid or not. */
static inline bool command_has_payload(const struct command *command)
{
	return command->type == NBD_CMD_WRITE;
}

/* command_check() - whether a client may ask this of a disk with these facts.
 * @structured: structured replies were negotiated, and DF with them.
 * @block: gets op, flags, offset and length; nothing else is touched.
 *
 * Returns 0, with NULL in @why; or with the reason in @why, a constant, for the client:
 * -EINVAL: an unknown command, one that was not offered, a flag that does not belong to it or was not offered; a flush
 * with a range; a length of 0 ("unspecified" in proto.md: as an error it cannot be mistaken for data moved); off the
 * block grid; longer than the maximum payload; a read, trim or cache past the end;
 * -EROFS: a change to a readonly disk; -ENOSPC: a write or zero past the end. */
int command_check(const struct command *command, const struct disk_facts *facts, bool structured,
	struct block_req *block, const char **why);

/* nbd_error_of() - the error value for @status, 0 or -errno. */
enum nbd_error nbd_error_of(int status);
