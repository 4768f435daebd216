/* tests/fuzz/fuzz_vring_split.c -- a driver's descriptors, indices and headers, as it likes: taken, parsed, done. */
#include "tests/fuzz/ring_input.h"
#include "virtio/inflight_wire.h"

enum { RING = 16, TABLE = 48 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fill_descs(struct driver_desc *desc, unsigned count, struct input *input)
{
	for (unsigned i = 0; i < count; i++) {
		desc[i].addr = next_address(input);
		desc[i].flags = (uint16_t)next(input, 1);
		desc[i].len = next(input, 2);
		desc[i].next = (uint16_t)next(input, 1) % (RING + 2);
		if (desc[i].flags & 0x40)
			desc[i].addr = DRIVER_GUEST + AT_TABLE + desc[i].next * 16;
		if (desc[i].flags & 0x80)
			desc[i].len = (desc[i].len & 63) * 16;
	}
}

/* As of an earlier life, more or less; small numbers are those that make sense. */
static void fill_record(struct inflight_split *record, uint16_t used_idx, struct input *input)
{
	memset(record, 0, vring_record_size(0, RING));
	record->version = (uint16_t)(next(input, 1) % 8 ? 1 : next(input, 1));
	record->desc_num = (uint16_t)(next(input, 1) % 16 ? RING : next(input, 2));
	record->last_batch_head = (uint16_t)(next(input, 1) % (RING + 2));
	record->used_idx = (uint16_t)(used_idx - next(input, 1) % (RING + 3));
	for (unsigned i = 0; i < RING; i++) {
		uint32_t kind = next(input, 1);

		record->desc[i].inflight = kind & 1;
		record->desc[i].next = (uint16_t)((kind >> 1) % (RING + 2));
		record->desc[i].counter = kind & 64 ? i : next(input, 4);
	}
}

static void carry_out(struct vring *ring)
{
	uint64_t features = blk.features;
	int error = blk_request_parse(&request, &blk, features);

	while (!error && blk_request_next(&request)) {
		error = disk_check(&blk.facts, &request.block);
		if (!error)
			touch(&request.block);
	}
	vring_give(ring, request.chain.id, blk_request_finish(&request, error));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct vring_setup setup;
	struct vring ring;
	unsigned turns;

	if (!memory)
		ring_begin(RING);
	setup = driver_setup(&driver, (uint64_t)next(&input, 1) << 28, (uint16_t)next(&input, 2));
	*driver_used_idx(&driver) = setup.base;
	driver.avail[1] = (uint16_t)(setup.base + next(&input, 1) % (RING + 3));
	turns = next(&input, 1);
	if (turns & 4) {
		setup.record = driver.bytes + AT_RECORD;
		setup.record_bytes = vring_record_size(0, RING) - (turns & 8 ? 0 : 64);
		fill_record(setup.record, setup.base, &input);
	}
	turns %= 4;
	for (unsigned i = 0; i < RING; i++)
		driver.avail[2 + i] = (uint16_t)next(&input, 1) % (RING + 1);
	fill_descs(driver.desc, RING, &input);
	fill_descs(driver_table(&driver), TABLE, &input);
	memcpy(driver.bytes + AT_DATA, input.data, input.size < 4096 ? input.size : 4096);
	atomic_store(&blk.writeback, setup.features != 0);
	if (vring_init(&ring, &setup, memory))
		return 0;
	do {
		request.chain.iov = request.iov;
		request.chain.iov_max = turns ? BLK_REQUEST_IOV_MAX : 5;
		vring_quiet(&ring);
		while (vring_take(&ring, &request.chain) == VRING_TAKEN)
			carry_out(&ring);
		vring_publish(&ring);
		vring_listen(&ring);
		driver.avail[1] = (uint16_t)(driver.avail[1] + 3);
	} while (turns-- > 0);
	return 0;
}
