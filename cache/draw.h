/* cache/draw.h -- numbers drawn from a seed, the same on every machine: splitmix64. */
#pragma once

#include <stdint.h>

struct draw {
	uint64_t state;
};

static inline void draw_init(struct draw *draw, uint64_t seed)
{
	draw->state = seed;
}

static inline uint64_t draw_next(struct draw *draw)
{
	uint64_t word = draw->state += 0x9e3779b97f4a7c15u;

	word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9u;
	word = (word ^ word >> 27) * 0x94d049bb133111ebu;
	return word ^ word >> 31;
}

/* From 0 to @below - 1; @below > 0, and far less than 2^64. */
static inline uint64_t draw_below(struct draw *draw, uint64_t below)
{
	return draw_next(draw) % below;
}
