/* cache/bitmap.c -- a word at a time. */
#include "cache/bitmap.h"

#include <stdatomic.h>

bool bitmap_run(const _Atomic uint64_t *words, uint64_t at, uint64_t limit, uint64_t *end)
{
	bool set = atomic_load_explicit(&words[at / 64], memory_order_acquire) >> at % 64 & 1;

	while (at < limit) {
		uint64_t word = atomic_load_explicit(&words[at / 64], memory_order_acquire);
		uint64_t other = (set ? ~word : word) >> at % 64;

		if (other) {
			at += (uint64_t)__builtin_ctzll(other);
			break;
		}
		at = (at / 64 + 1) * 64;
	}
	*end = at < limit ? at : limit;
	return set;
}
