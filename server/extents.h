/* server/extents.h -- the extents of a block status, on the wire.
 * Spec: proto.md, "NBD_REPLY_TYPE_BLOCK_STATUS", "NBD_REPLY_TYPE_BLOCK_STATUS_EXT", "base:allocation metadata context".
 */
#pragma once

#include <stddef.h>

#include "cache/block.h"
#include "server/dialect.h"

/* One extent, bytes: at most a struct block_extent. */
size_t extents_encoded_size(enum headers headers);

/* extents_encode() - turn the extents that @block found into what the client gets, in their place.
 * Where a length has 32 bits, the first extent that has more is cut short and becomes the last. */
void extents_encode(struct block_req *block, enum headers headers);
