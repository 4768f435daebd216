/* client/command.c -- cutting, sending and finishing the commands of a request. */
#include "client/command.h"

#include <assert.h>
#include <errno.h>

#include "client/scatter.h"
#include "server/nbd_wire.h"

#define COMMAND_MAGIC 0x766e6263u /* "vnbc" */

static bool moves_data(const struct block_req *req)
{
	return req->op == BLOCK_READ || req->op == BLOCK_WRITE;
}

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void command_start(struct command *command, struct block_req *req)
{
	command->magic = COMMAND_MAGIC;
	command->req = req;
	command->part = COMMAND_RANGE;
	command->carried_out = 0;
	command->effect_max = COMMAND_EFFECT_MAX;
	command->length = 0;
	command->flat = NULL;
	command->status = 0;
	command->recalled = command->reserved = false;
}

static void drop_flat(struct command *command, struct flat_pool *pool)
{
	if (command->flat)
		flat_put(pool, command->flat, command->length);
	command->flat = NULL;
}

void command_restart(struct command *command, struct flat_pool *pool)
{
	bool recalled = command->recalled;

	drop_flat(command, pool);
	command_start(command, command->req);
	command->recalled = recalled;
}

static bool is_flush(const struct command *command)
{
	return command->part == COMMAND_FLUSH_AFTER || command->req->op == BLOCK_FLUSH;
}

static void *flat_data(const struct command *command, uint64_t length)
{
	const struct block_req *req = command->req;

	return scatter_flat(req->iov, req->iov_count, command->carried_out, length);
}

/* Whether @length bytes can leave, or come in, where they lie. */
static bool stays_in_place(
	const struct command *command, const struct command_limits *limits, uint64_t length)
{
	return limits->scatters || flat_data(command, length);
}

uint64_t command_cut(const struct command *command, const struct command_limits *limits)
{
	const struct block_req *req = command->req;
	uint64_t rest = req->length - command->carried_out;

	if (is_flush(command))
		return 0;
	if (!moves_data(req))
		return min(rest, command->effect_max);
	rest = min(rest, limits->data_max);
	return stays_in_place(command, limits, rest) ? rest : min(rest, FLAT_LENGTH_MAX);
}

static uint16_t nbd_flags(const struct block_req *req, const struct command_limits *limits)
{
	uint16_t flags = 0;

	if (req->op == BLOCK_READ || req->op == BLOCK_CACHE)
		return 0;
	if ((req->flags & BLOCK_FUA) && limits->native_fua)
		flags |= NBD_CMD_FLAG_FUA;
	if (req->flags & BLOCK_NO_HOLE)
		flags |= NBD_CMD_FLAG_NO_HOLE;
	if (req->flags & BLOCK_FAST_ZERO)
		flags |= NBD_CMD_FLAG_FAST_ZERO;
	return flags;
}

static void describe(struct command *command, const struct command_limits *limits)
{
	static const uint16_t types[BLOCK_OPS] = {
		[BLOCK_READ] = NBD_CMD_READ,
		[BLOCK_WRITE] = NBD_CMD_WRITE,
		[BLOCK_FLUSH] = NBD_CMD_FLUSH,
		[BLOCK_TRIM] = NBD_CMD_TRIM,
		[BLOCK_ZERO] = NBD_CMD_WRITE_ZEROES,
		[BLOCK_CACHE] = NBD_CMD_CACHE,
	};
	const struct block_req *req = command->req;

	assert(req->op != BLOCK_STATUS);
	command->type = is_flush(command) ? NBD_CMD_FLUSH : types[req->op];
	command->flags = is_flush(command) ? 0 : nbd_flags(req, limits);
	command->offset = is_flush(command) ? 0 : req->offset + command->carried_out;
}

bool command_prepare(struct command *command, const struct command_limits *limits, struct flat_pool *pool)
{
	const struct block_req *req = command->req;

	assert(!command->flat);
	command->length = command_cut(command, limits);
	describe(command, limits);
	if (command->length == 0 || !moves_data(req) || stays_in_place(command, limits, command->length))
		return true;
	command->flat = flat_take(pool, command->length);
	if (!command->flat)
		return false;
	if (req->op == BLOCK_WRITE)
		scatter_gather(
			req->iov, req->iov_count, command->carried_out, command->flat, command->length);
	return true;
}

unsigned command_data(
	const struct command *command, uint64_t at, uint64_t length, struct iovec *out, unsigned max)
{
	const struct block_req *req = command->req;

	return scatter_pieces(req->iov, req->iov_count, command->carried_out + at, length, out, max);
}

void command_fill(struct command *command, uint64_t at, const void *data, uint64_t length)
{
	const struct block_req *req = command->req;

	scatter_spread(req->iov, req->iov_count, command->carried_out + at, data, length);
}

void command_clear(struct command *command, uint64_t at, uint64_t length)
{
	const struct block_req *req = command->req;

	scatter_clear(req->iov, req->iov_count, command->carried_out + at, length);
}

void *command_flat_data(const struct command *command)
{
	return command->flat ? command->flat : flat_data(command, command->length);
}

/* A server may refuse an effect that is longer than its data, if it would have to make data of it.
 * Spec: proto.md, "Block size constraints". */
static bool may_be_too_long(const struct command *command, const struct command_limits *limits)
{
	return (command->status == -EOVERFLOW || command->status == -EINVAL) && !moves_data(command->req) &&
	       command->length > limits->data_max;
}

static void keep_data(struct command *command)
{
	struct block_req *req = command->req;

	if (command->flat && req->op == BLOCK_READ)
		scatter_spread(
			req->iov, req->iov_count, command->carried_out, command->flat, command->length);
}

bool command_advance(struct command *command, const struct command_limits *limits, struct flat_pool *pool)
{
	const struct block_req *req = command->req;

	if (command->status == 0)
		keep_data(command);
	drop_flat(command, pool);
	if (may_be_too_long(command, limits)) {
		command->effect_max = limits->data_max;
		command->status = 0;
		return true;
	}
	if (command->status || command->part == COMMAND_FLUSH_AFTER || req->op == BLOCK_FLUSH)
		return false;
	command->carried_out += command->length;
	if (command->carried_out < req->length)
		return true;
	if (!(req->flags & BLOCK_FUA) || limits->native_fua)
		return false;
	command->part = COMMAND_FLUSH_AFTER;
	return true;
}

struct command *command_of(void *user_data)
{
	struct command *command = user_data;

	assert(command->magic == COMMAND_MAGIC);
	return command;
}
