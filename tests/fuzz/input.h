/* tests/fuzz/input.h -- a fuzzer's input as numbers; zeroes behind its end. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct input {
	const uint8_t *data;
	size_t size;
};

static inline uint64_t next(struct input *input, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0 && input->size > 0) {
		value = value << 8 | *input->data++;
		input->size--;
	}
	return value;
}
