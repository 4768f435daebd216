/* cache/bitmap.h -- runs in bitmaps of 64-bit words that others may write meanwhile. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The bits from @at to before @end, as far as they are in the word of @at. */
static inline uint64_t bitmap_bits(uint64_t at, uint64_t end)
{
	uint64_t from = UINT64_MAX << at % 64;

	return end / 64 == at / 64 ? from & ((1ull << end % 64) - 1) : from;
}

/* Whether bit @at is set; in @end the bit behind the run of the like of it, up to @limit. What was written before the bits
 * were (with release order) is seen. */
bool bitmap_run(const _Atomic uint64_t *words, uint64_t at, uint64_t limit, uint64_t *end);
