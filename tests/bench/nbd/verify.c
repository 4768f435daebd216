/* tests/bench/nbd/verify.c -- what a block must contain, so that a wrong one is told from a stale one.
 * Words of a block: its offset, the run and the sequence number of its last write, then a sequence made of both. */

#include "load.h"

#include <inttypes.h>
#include <stdio.h>

/* words: offset, run and sequence number, then a sequence of both */
static uint64_t stamp_base(uint64_t off, uint32_t seq)
{
	uint64_t x = (off + seq * 0x9e3779b97f4a7c15ULL) ^ runid;

	x = (x ^ (x >> 31)) * 0xbf58476d1ce4e5b9ULL;
	return x ^ (x >> 29);
}

void stamp(uint8_t *p, uint64_t off, uint32_t seq)
{
	uint64_t *w = (uint64_t *)(void *)p, x = stamp_base(off, seq);

	for (size_t i = 0; i < opt.bs / 8; i++)
		w[i] = x + i * 0xd1342543de82ef95ULL;
	w[0] = off;
	w[1] = runid << 32 | seq;
}

void check(const uint8_t *p, uint64_t off, uint32_t seq)
{
	const uint64_t *w = (const uint64_t *)(const void *)p;
	uint64_t x = stamp_base(off, seq), bad = 0;
	size_t i;

	if (!seq) {
		count.unchecked++;
		return;
	}
	count.checked++;
	bad = (w[0] ^ off) | (w[1] ^ (runid << 32 | seq));
	for (i = 2; i < opt.bs / 8; i++)
		bad |= w[i] ^ (x + i * 0xd1342543de82ef95ULL);
	if (!bad)
		return;
	if (++count.mismatches <= 5) {
		for (i = 2; i < opt.bs / 8; i++)
			if (w[i] != x + i * 0xd1342543de82ef95ULL)
				break;
		fprintf(stderr,
			"nbdload: mismatch at offset %" PRIu64 ": want seq %u, "
			"block says offset %" PRIu64 " seq %" PRIu32 " run %s; body differs"
			" from byte %zu\n",
			off, seq, w[0], (uint32_t)w[1], w[1] >> 32 == (uint32_t)runid ? "this" : "another",
			i * 8);
	}
}
