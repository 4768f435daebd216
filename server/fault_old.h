/* server/fault_old.h -- a bounded store of bytes as they once were, in blocks of FAULT_OLD_BLOCK. No locks: its owner's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct fault_old;

/* NULL without memory. */
struct fault_old *fault_old_new(void);
void fault_old_free(struct fault_old *old);

/* Blocks that it can still take. */
uint64_t fault_old_room(const struct fault_old *old);

/* Whether it has the block at @offset, a multiple of FAULT_OLD_BLOCK. */
bool fault_old_has(const struct fault_old *old, uint64_t offset);

/* Keep the @length bytes (up to FAULT_OLD_BLOCK) of the block at @offset, unless it is kept already or there is no room. */
void fault_old_keep(struct fault_old *old, uint64_t offset, const uint8_t *bytes, uint64_t length);

/* Put what is kept of @length bytes at @offset into @data. */
void fault_old_recall(const struct fault_old *old, uint64_t offset, uint64_t length, uint8_t *data);
