/* server/fault_data.h -- what a fault makes of a request's data and of what is asked of the disk: everything that takes
 * FAULT_PLACE_DATA, but for when (server/session_faults.c).
 */
#pragma once

#include <stdbool.h>

#include "cache/disk.h"
#include "server/fault_when.h"

/* Something that is to happen to a request, copied from its rule. */
struct fault_effect {
	enum fault_action action; /* FAULT_DO_NOTHING: nothing */
	unsigned id;		  /* of the rule */
	uint64_t arguments[FAULT_ARGUMENTS];
	struct fault_random random;
};

/* What FAULT_DO_corrupt_sector and the rest count in: bytes. */
#define FAULT_SECTOR 512

/* fault_data_applies() - whether @rule can do anything to a request like @block: there is a sector boundary within, another
 * place to go to, FUA to be forgotten. */
bool fault_data_applies(
	const struct fault_rule *rule, const struct disk_facts *facts, const struct block_req *block);

/* The disk is to be asked. */
#define FAULT_ASK_DISK 1

/* fault_data_before() - change what is asked of the disk.
 * @block: ready to be submitted; its iov has one entry at most.
 * Returns FAULT_ASK_DISK; or 0 or -errno, the answer without asking. */
int fault_data_before(
	const struct fault_effect *effect, const struct disk_facts *facts, struct block_req *block);

/* fault_data_after() - @status of a request that was asked as @offset and @length of @data; may change the data.
 * Returns the status to be told. */
int fault_data_after(const struct fault_effect *effect, int status, uint8_t *data, uint64_t length);

/* fault_data_sector() - FAULT_DO_corrupt_sector: the sector of @block's @data that is to be overwritten, and, in @other, the
 * place on the disk it is to be read from. Returns where in the data, and its @length. */
uint64_t fault_data_sector(const struct fault_effect *effect, const struct disk_facts *facts, uint64_t offset,
	uint64_t length, uint64_t *other, uint64_t *sector);
