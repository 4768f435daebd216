/* tests/fuzz/ring_input.h -- what the fuzzers of both ring layouts share: a driver's memory, a disk's facts, numbers from
 * the input, and a request taken to its end. */
#pragma once

#include "tests/fuzz/input.h"
#include "tests/unit/packed_driver.h"
#include "virtio/blk_request.h"
#include "virtio/inflight_wire.h"

/* Where a record may be, and a log: behind the buffers of the second region. */
enum { AT_RECORD = DRIVER_REGION + 0x80000 };

static struct driver driver;
static struct guest_memory *memory;
static struct virtio_blk blk;
static struct blk_request request;
static struct dirty_log *dirty;

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
	int log = memfd_create("log", MFD_CLOEXEC);
	const char *why;

	driver_init(&driver, (uint16_t)size);
	memory = driver_memory(&driver);
	/* Some of the memory is beyond it. */
	if (ftruncate(log, 64) || dirty_log_new(64, 0, log, &dirty, &why) || virtio_blk_init(&blk, &config))
		abort();
	close(log);
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

/* What a queue does with request.chain, just taken. Returns what to give back. */
static inline uint32_t carry_out(void)
{
	int error = blk_request_parse(&request, &blk, blk.features);
	uint32_t filled;

	while (!error && blk_request_next(&request)) {
		error = disk_check(&blk.facts, &request.block);
		if (!error)
			touch(&request.block);
	}
	filled = blk_request_finish(&request, error);
	blk_request_log(&request, memory, dirty);
	return filled;
}

/* What was taken and not yet given back. */
struct taken {
	uint16_t id[VRING_SIZE_MAX];
	uint32_t filled[VRING_SIZE_MAX];
	unsigned count;
};

/* Requests in flight never exceed the ring's size. */
static inline void keep_taken(struct taken *taken, unsigned ring_size)
{
	if (taken->count == ring_size)
		abort();
	taken->id[taken->count] = request.chain.id;
	taken->filled[taken->count++] = carry_out();
}

static inline void give_some(struct vring *ring, struct taken *taken, uint32_t which)
{
	while (taken->count > (which & 3)) {
		unsigned i = which % taken->count;

		vring_give(ring, taken->id[i], taken->filled[i]);
		taken->id[i] = taken->id[--taken->count];
		taken->filled[i] = taken->filled[taken->count];
	}
}
