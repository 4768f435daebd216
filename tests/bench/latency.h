/* tests/bench/latency.h -- a histogram of times that costs one increment a sample and answers quantiles within 1.6 %.
 * Buckets: 64 for each power of two, so every time from 1 ns to 584 years has one. */
#pragma once

#include <stdint.h>

#define LATENCY_SUB_BITS 6
#define LATENCY_BUCKETS	 ((64 - LATENCY_SUB_BITS + 1) << LATENCY_SUB_BITS)

struct latency {
	uint64_t samples, sum_ns, max_ns;
	uint64_t bucket[LATENCY_BUCKETS];
};

void latency_add(struct latency *latency, uint64_t ns);

/* Adds the samples of @from, e.g. of another thread that has ended. */
void latency_merge(struct latency *latency, const struct latency *from);

/* The quantile (0 to 1) in microseconds; 0 without samples. */
double latency_us(const struct latency *latency, double quantile);
