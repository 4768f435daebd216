/* server/command.c -- a row a command: its operation and the flags it may carry. */
#include "server/command.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* The row of a command, by its number. DISC is the session's own. */
enum { ROWS = NBD_CMD_BLOCK_STATUS + 1 };
static const struct {
	bool known, changes;
	enum block_op op;
	unsigned flags; /* beside FUA, which "is valid for all commands" */
} rows[ROWS] = {
	[NBD_CMD_READ] = { true, false, BLOCK_READ, NBD_CMD_FLAG_DF },
	[NBD_CMD_WRITE] = { true, true, BLOCK_WRITE, 0 },
	[NBD_CMD_FLUSH] = { true, false, BLOCK_FLUSH, 0 },
	[NBD_CMD_TRIM] = { true, true, BLOCK_TRIM, 0 },
	[NBD_CMD_CACHE] = { true, false, BLOCK_CACHE, 0 },
	[NBD_CMD_WRITE_ZEROES] = { true, true, BLOCK_ZERO, NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO },
	[NBD_CMD_BLOCK_STATUS] = { true, false, BLOCK_STATUS, NBD_CMD_FLAG_REQ_ONE },
};

static int parse_extended(const uint8_t *bytes, struct command *out)
{
	struct nbd_extended_request_header header;

	memcpy(&header, bytes, sizeof(header));
	*out = (struct command){
		.type = be16toh(header.type),
		.flags = be16toh(header.flags),
		.cookie = be64toh(header.cookie),
		.offset = be64toh(header.offset),
		.length = be64toh(header.length),
	};
	if (out->flags & NBD_CMD_FLAG_PAYLOAD_LEN)
		out->payload = out->length;
	return be32toh(header.magic) == NBD_EXTENDED_REQUEST_MAGIC ? 0 : -EBADMSG;
}

static int parse_compact(const uint8_t *bytes, struct command *out)
{
	struct nbd_request_header header;

	memcpy(&header, bytes, sizeof(header));
	*out = (struct command){
		.type = be16toh(header.type),
		.flags = be16toh(header.flags),
		.cookie = be64toh(header.cookie),
		.offset = be64toh(header.offset),
		.length = be32toh(header.length),
	};
	if (out->type == NBD_CMD_WRITE)
		out->payload = out->length;
	return be32toh(header.magic) == NBD_REQUEST_MAGIC ? 0 : -EBADMSG;
}

int command_parse(const uint8_t *bytes, enum headers headers, struct command *out)
{
	return headers == HEADERS_EXTENDED ? parse_extended(bytes, out) : parse_compact(bytes, out);
}

/* Flags a client may set on @command here: what was not offered is not valid. */
static unsigned valid_flags(
	const struct command *command, const struct disk_facts *facts, struct dialect dialect)
{
	bool may_carry = command->type == NBD_CMD_WRITE || command->type == NBD_CMD_BLOCK_STATUS;
	unsigned valid = rows[command->type].flags;

	if (facts->can_fua)
		valid |= NBD_CMD_FLAG_FUA;
	if (dialect.headers == HEADERS_EXTENDED && may_carry)
		valid |= NBD_CMD_FLAG_PAYLOAD_LEN;
	if (dialect.headers == HEADERS_SIMPLE)
		valid &= ~(unsigned)NBD_CMD_FLAG_DF;
	if (!facts->can_fast_zero)
		valid &= ~(unsigned)NBD_CMD_FLAG_FAST_ZERO;
	return valid;
}

/* FUA on a command that changes nothing has nothing to do. */
static unsigned block_flags(const struct command *command)
{
	unsigned flags = 0;

	if (command->flags & NBD_CMD_FLAG_FUA && rows[command->type].changes)
		flags |= BLOCK_FUA;
	if (command->flags & NBD_CMD_FLAG_NO_HOLE)
		flags |= BLOCK_NO_HOLE;
	if (command->flags & NBD_CMD_FLAG_FAST_ZERO)
		flags |= BLOCK_FAST_ZERO;
	if (command->flags & NBD_CMD_FLAG_REQ_ONE)
		flags |= BLOCK_ONE_EXTENT;
	return flags;
}

/* What disk_check() found, as the client is told. -ENOTSUP is its word for what the disk does not have, where
 * "the server SHOULD return NBD_EINVAL". */
static int explain(int error, const char **why)
{
	switch (error) {
	case 0:
		*why = NULL;
		return 0;
	case -ENOTSUP:
		*why = "this export does not offer the command";
		return -EINVAL;
	case -EROFS:
		*why = "the export is read-only";
		return error;
	case -ENOSPC:
		*why = "past the end of the export";
		return error;
	default:
		*why = "length or offset out of range";
		return error;
	}
}

/* What is wrong with @command on any disk; or NULL. */
static const char *find_fault(
	const struct command *command, const struct disk_facts *facts, struct dialect dialect)
{
	if (command->type >= ROWS || !rows[command->type].known)
		return "unknown command";
	if (command->flags & ~valid_flags(command, facts, dialect))
		return "a flag that is unknown, not offered, or not for this command";
	if (command->type == NBD_CMD_FLUSH && (command->offset || command->length))
		return "offset and length of a flush must be zero";
	if (command->type == NBD_CMD_BLOCK_STATUS && !dialect.contexts)
		return "no metadata context is selected for this export";
	if (command->type == NBD_CMD_WRITE && dialect.headers == HEADERS_EXTENDED &&
		!(command->flags & NBD_CMD_FLAG_PAYLOAD_LEN))
		return "a write without its payload";
	if (command_names_contexts(command) &&
		(command->payload < sizeof(uint64_t) || command->payload > COMMAND_CONTEXTS_MAX ||
			command->payload % sizeof(uint32_t)))
		return "not the payload of a block status with these contexts";
	return NULL;
}

int command_check(const struct command *command, const struct disk_facts *facts, struct dialect dialect,
	struct block_req *block, const char **why)
{
	*why = find_fault(command, facts, dialect);
	if (*why)
		return -EINVAL;
	if (rows[command->type].changes && facts->readonly)
		return explain(-EROFS, why);
	block->op = rows[command->type].op;
	block->flags = block_flags(command);
	block->offset = command->offset;
	block->length = command->length;
	return command_names_contexts(command) ? 0 : explain(disk_check(facts, block), why);
}

int command_check_contexts(const struct command *command, const struct disk_facts *facts,
	struct dialect dialect, const uint8_t *payload, struct block_req *block, unsigned *contexts,
	const char **why)
{
	block->length = nbd_get64(payload);
	*contexts = 0;
	for (uint64_t at = sizeof(uint64_t); at < command->payload; at += sizeof(uint32_t)) {
		uint32_t id = nbd_get32(payload + at);

		*why = "an unknown metadata context";
		if (id > META_CONTEXTS || !(dialect.contexts & META_BIT(id)))
			return -EINVAL;
		*why = "a metadata context is named twice";
		if (*contexts & META_BIT(id))
			return -EINVAL;
		*contexts |= META_BIT(id);
	}
	return explain(disk_check(facts, block), why);
}

enum nbd_error nbd_error_of(int status)
{
	switch (-status) {
	case 0:
		return NBD_SUCCESS;
	case EPERM:
	case EACCES:
	case EROFS:
		return NBD_EPERM;
	case ENOMEM:
		return NBD_ENOMEM;
	case EINVAL:
		return NBD_EINVAL;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return NBD_ENOSPC;
	case EOVERFLOW:
		return NBD_EOVERFLOW;
	case ENOTSUP:
		return NBD_ENOTSUP;
	case ESHUTDOWN:
		return NBD_ESHUTDOWN;
	default:
		return NBD_EIO;
	}
}
