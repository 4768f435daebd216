#include "latency.h"

#define SUB_BUCKETS (1u << LATENCY_SUB_BITS)

void latency_add(struct latency *latency, uint64_t ns)
{
	unsigned index = (unsigned)ns;

	if (ns >= SUB_BUCKETS) {
		unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - LATENCY_SUB_BITS;

		index = ((shift + 1) << LATENCY_SUB_BITS) + (unsigned)((ns >> shift) - SUB_BUCKETS);
	}
	latency->bucket[index]++;
	latency->samples++;
	latency->sum_ns += ns;
	if (ns > latency->max_ns)
		latency->max_ns = ns;
}

void latency_merge(struct latency *latency, const struct latency *from)
{
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		latency->bucket[i] += from->bucket[i];
	latency->samples += from->samples;
	latency->sum_ns += from->sum_ns;
	if (from->max_ns > latency->max_ns)
		latency->max_ns = from->max_ns;
}

/* The middle of bucket @index, in ns. */
static double bucket_middle(unsigned index)
{
	unsigned shift = index >> LATENCY_SUB_BITS;
	double width = shift ? (double)(1ULL << (shift - 1)) : 1;
	double low = shift ? ((index & (SUB_BUCKETS - 1)) + SUB_BUCKETS) * width : index;

	return low + width / 2;
}

double latency_us(const struct latency *latency, double quantile)
{
	uint64_t wanted = (uint64_t)(quantile * (double)latency->samples), seen = 0;

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		seen += latency->bucket[i];
		if (latency->bucket[i] && seen > wanted) {
			double middle = bucket_middle(i);

			return (middle > (double)latency->max_ns ? (double)latency->max_ns : middle) / 1e3;
		}
	}
	return (double)latency->max_ns / 1e3;
}
