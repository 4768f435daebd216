/* server/fault_random.c -- SplitMix64, by counter. */
#include "server/fault_random.h"

static uint64_t mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t fault_random(struct fault_random random, uint64_t draw)
{
	uint64_t counter = random.number * FAULT_DRAWS + draw + 1;

	/* Mixed, since seeds are small numbers, and the streams of two that differ little would overlap. */
	return mix(mix(random.seed) + counter * 0x9e3779b97f4a7c15u);
}

/* The product's upper half: no division, and a bias of below @below / 2^64. */
uint64_t fault_random_below(struct fault_random random, uint64_t draw, uint64_t below)
{
	return (uint64_t)(((unsigned __int128)fault_random(random, draw) * below) >> 64);
}

double fault_random_part(struct fault_random random, uint64_t draw)
{
	return (double)((fault_random(random, draw) >> 11) + 1) / 9007199254740992.0;
}
