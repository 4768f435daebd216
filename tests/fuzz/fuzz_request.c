/* The header of a request, and the payload of a block status, against a disk of any facts, in each form of requests: what
 * passes lies within the disk and asks for what it has. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Facts of the input's first bytes: any abilities, any size. */
static struct disk_facts facts_of(const uint8_t bytes[16])
{
	struct disk_facts facts = {
		.block_size_min = 1u << bytes[0] % 17,
		.data_max = 32 << 20,
		.readonly = bytes[1] & 1,
		.can_flush = bytes[1] & 2,
		.can_fua = bytes[1] & 4,
		.can_trim = bytes[1] & 8,
		.can_zero = bytes[1] & 16,
		.can_fast_zero = bytes[1] & 32,
		.can_cache = bytes[1] & 64,
	};

	memcpy(&facts.size, bytes + 8, sizeof(facts.size));
	facts.size &= INT64_MAX;
	return facts;
}

static void check(const struct disk_facts *facts, const struct block_req *block)
{
	if (block->op != BLOCK_FLUSH && (block->length == 0 || block->offset > facts->size ||
						block->length > facts->size - block->offset))
		abort();
	if ((block->offset | block->length) & (facts->block_size_min - 1))
		abort();
	if ((block->op == BLOCK_READ || block->op == BLOCK_WRITE) && block->length > facts->data_max)
		abort();
	if (facts->readonly &&
		(block->op == BLOCK_WRITE || block->op == BLOCK_TRIM || block->op == BLOCK_ZERO))
		abort();
	if ((block->flags & BLOCK_FUA) && !facts->can_fua)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dialect dialect;
	struct disk_facts facts;
	struct command command;
	struct block_req block;
	const char *why;
	unsigned contexts;
	int error;

	if (size < 16 + sizeof(struct nbd_extended_request_header) + COMMAND_CONTEXTS_MAX)
		return 0;
	facts = facts_of(data);
	dialect = (struct dialect){ .headers = data[2] % 3, .contexts = data[2] >> 5 & 6 };
	/* Whatever the magic number: a fuzzer that has to find it first finds little else. */
	command_parse(data + 16, dialect.headers, &command);
	error = command_check(&command, &facts, dialect, &block, &why);
	if (error == 0 && command_names_contexts(&command)) {
		if (command.payload > COMMAND_CONTEXTS_MAX)
			abort();
		error = command_check_contexts(&command, &facts, dialect,
			data + 16 + sizeof(struct nbd_extended_request_header), &block, &contexts, &why);
		if (error == 0 && contexts & ~dialect.contexts)
			abort();
	}
	if (error == 0)
		check(&facts, &block);
	else if (!why)
		abort();
	return 0;
}
