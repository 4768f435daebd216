/* tests/fuzz/ring_input.h -- what the fuzzers of both ring layouts share: a driver's memory, a device, and addresses from the
 * input. */
#pragma once

#include "tests/fuzz/input.h"
#include "tests/unit/split_driver.h"
#include "virtio/blk_request.h"

/* Where a record may be: behind the buffers of the second region. */
enum { AT_RECORD = DRIVER_REGION + 0x80000 };

static struct driver driver;
static struct guest_memory *memory;
static struct virtio_blk blk;
static struct blk_request request;

static inline void ring_begin(unsigned size)
{
	const struct virtio_blk_config config = {
		.facts = { .size = 1 << 20,
			.block_size_min = 512,
			.block_size_preferred = 4096,
			.data_max = 5000,
			.volatile_cache = true,
			.can_flush = true,
			.can_trim = true,
			.can_zero = true },
		.num_queues = 1,
		.serial = "fuzz",
	};

	driver_init(&driver, size);
	memory = driver_memory(&driver);
	if (virtio_blk_init(&blk, &config))
		abort();
	request.magic = BLK_REQUEST_MAGIC;
}

/* Most addresses are in memory, some at its edges, a few anywhere. */
static inline uint64_t next_address(struct input *input)
{
	uint32_t value = (uint32_t)next(input, 3);

	if ((value & 0xf00000) == 0xf00000)
		return (uint64_t)value << 44 | value;
	return DRIVER_GUEST + (value & 0x1fffff);
}

static inline void touch(const struct block_req *block)
{
	for (unsigned i = 0; i < block->iov_count; i++) {
		volatile uint8_t *at = block->iov[i].iov_base;

		if (block->op == BLOCK_READ)
			at[0] = at[block->iov[i].iov_len - 1] = 0;
		else
			(void)(at[0] + at[block->iov[i].iov_len - 1]);
		block->iov[i].iov_len = 0;
	}
}
