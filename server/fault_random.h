/* server/fault_random.h -- random numbers that depend on nothing but a seed and a counter: the same on every machine, and
 * in whichever order, on whichever thread they are drawn.
 *
 * A number is the output of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators") for the
 * seed and the counter. A rule draws for its Nth request from counter N on.
 */
#pragma once

#include <stdint.h>

/* What one request draws; several for one purpose follow each other. */
enum fault_draw {
	FAULT_DRAW_FIRES,
	FAULT_DRAW_DELAY, /* and the next */
	FAULT_DRAW_PLACE = 3,
	FAULT_DRAW_OTHER_PLACE,
	FAULT_DRAW_BITS = 8, /* and those behind it */
};

struct fault_random {
	uint64_t seed, number;
};

/* Draws of one request that never meet those of another. */
#define FAULT_DRAWS (1u << 20)

/* 64 random bits. @draw: up to FAULT_DRAWS. */
uint64_t fault_random(struct fault_random random, uint64_t draw);

/* From 0 up to @below, which is > 0. */
uint64_t fault_random_below(struct fault_random random, uint64_t draw, uint64_t below);

/* Above 0, up to 1. */
double fault_random_part(struct fault_random random, uint64_t draw);
