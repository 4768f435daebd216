/* cache/iov.h -- a request's data, walked from its front.
 *
 * What has been walked over is consumed: the entries of the array change.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cache/block.h"

/* Drops the first @bytes of @req's data; at most what is there. */
void iov_skip(struct block_req *req, size_t bytes);

/* Moves the first @bytes of @req's data to @memory, or from it, and drops them. */
void iov_copy_out(struct block_req *req, void *memory, size_t bytes);
void iov_copy_in(struct block_req *req, const void *memory, size_t bytes);

/* Whether every entry starts at a multiple of @address_grid and is a multiple of @length_grid long: powers of two. */
bool iov_is_aligned(const struct block_req *req, size_t address_grid, size_t length_grid);
