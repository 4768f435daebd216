/* cache/crc32c.c -- eight bytes a step, by as many tables. */
#include "cache/crc32c.h"

#include <endian.h>
#include <pthread.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* its bits reversed */

static uint32_t tables[8][256];

static void make_tables(void)
{
	for (unsigned byte = 0; byte < 256; byte++) {
		uint32_t sum = byte;

		for (int bit = 0; bit < 8; bit++)
			sum = sum >> 1 ^ (sum & 1 ? POLYNOMIAL : 0);
		tables[0][byte] = sum;
	}
	for (unsigned byte = 0; byte < 256; byte++)
		for (int i = 1; i < 8; i++)
			tables[i][byte] = tables[i - 1][byte] >> 8 ^ tables[0][tables[i - 1][byte] & 0xff];
}

static uint32_t sum_of_eight(uint32_t sum, const uint8_t *bytes)
{
	uint64_t word;
	uint32_t out = 0;

	memcpy(&word, bytes, sizeof(word));
	word = le64toh(word) ^ sum;
	for (int i = 0; i < 8; i++)
		out ^= tables[7 - i][word >> 8 * i & 0xff];
	return out;
}

uint32_t crc32c(uint32_t sum, const void *bytes, size_t length)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const uint8_t *at = bytes;

	pthread_once(&once, make_tables);
	sum = ~sum;
	for (; length >= 8; length -= 8, at += 8)
		sum = sum_of_eight(sum, at);
	for (; length > 0; length--, at++)
		sum = sum >> 8 ^ tables[0][(sum ^ *at) & 0xff];
	return ~sum;
}
