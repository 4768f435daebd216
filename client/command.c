/* client/command.c -- cutting, sending and finishing the commands of a request. */
#include "client/command.h"

#include <assert.h>
#include <errno.h>

#include "client/scatter.h"

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
	command->recalled = false;
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

static void *flat_data(const struct command *command, uint64_t length)
{
	const struct block_req *req = command->req;

	return scatter_flat(req->iov, req->iov_count, command->carried_out, length);
}

uint64_t command_cut(const struct command *command, const struct command_limits *limits)
{
	const struct block_req *req = command->req;
	uint64_t rest = req->length - command->carried_out;

	if (command->part == COMMAND_FLUSH_AFTER || req->op == BLOCK_FLUSH)
		return 0;
	if (!moves_data(req))
		return min(rest, command->effect_max);
	rest = min(rest, limits->data_max);
	return flat_data(command, rest) ? rest : min(rest, FLAT_LENGTH_MAX);
}

bool command_prepare(struct command *command, const struct command_limits *limits, struct flat_pool *pool)
{
	const struct block_req *req = command->req;

	assert(!command->flat);
	command->length = command_cut(command, limits);
	if (command->length == 0 || !moves_data(req) || flat_data(command, command->length))
		return true;
	command->flat = flat_take(pool, command->length);
	if (!command->flat)
		return false;
	if (req->op == BLOCK_WRITE)
		scatter_gather(
			req->iov, req->iov_count, command->carried_out, command->flat, command->length);
	return true;
}

static uint32_t nbd_flags(const struct block_req *req, const struct command_limits *limits)
{
	uint32_t flags = 0;

	if ((req->flags & BLOCK_FUA) && limits->native_fua)
		flags |= LIBNBD_CMD_FLAG_FUA;
	if (req->flags & BLOCK_NO_HOLE)
		flags |= LIBNBD_CMD_FLAG_NO_HOLE;
	if (req->flags & BLOCK_FAST_ZERO)
		flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
	return flags;
}

static int issue_range(
	struct command *command, struct nbd_handle *nbd, uint32_t flags, nbd_completion_callback replied)
{
	const struct block_req *req = command->req;
	uint64_t offset = req->offset + command->carried_out;
	void *data;

	switch (req->op) {
	case BLOCK_READ:
		data = command->flat ? command->flat : flat_data(command, command->length);
		return nbd_aio_pread(nbd, data, command->length, offset, replied, 0) < 0 ? -1 : 0;
	case BLOCK_WRITE:
		data = command->flat ? command->flat : flat_data(command, command->length);
		return nbd_aio_pwrite(nbd, data, command->length, offset, replied, flags) < 0 ? -1 : 0;
	case BLOCK_TRIM:
		return nbd_aio_trim(nbd, command->length, offset, replied, flags) < 0 ? -1 : 0;
	case BLOCK_ZERO:
		return nbd_aio_zero(nbd, command->length, offset, replied, flags) < 0 ? -1 : 0;
	case BLOCK_CACHE:
		return nbd_aio_cache(nbd, command->length, offset, replied, 0) < 0 ? -1 : 0;
	default:
		assert(!"an operation with a range");
		return -1;
	}
}

int command_issue(struct command *command, struct nbd_handle *nbd, const struct command_limits *limits,
	nbd_completion_callback replied)
{
	if (command->part == COMMAND_FLUSH_AFTER || command->req->op == BLOCK_FLUSH)
		return nbd_aio_flush(nbd, replied, 0) < 0 ? -1 : 0;
	return issue_range(command, nbd, nbd_flags(command->req, limits), replied);
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
