/* tests/fuzz/fuzz_vring_packed.c -- a driver's descriptors, events and headers, as it likes, before and between the turns:
 * taken, parsed, done in another order. */
#include "tests/unit/packed_driver.h"

#include "tests/fuzz/ring_input.h"
#include "virtio/inflight_wire.h"

/* No power of two: packed rings need not be. */
enum { RING = 11, TABLE = 48 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Most are available in their first lap. */
static void fill_descs(struct packed_desc *desc, unsigned count, struct input *input)
{
	for (unsigned i = 0; i < count; i++) {
		uint32_t kind = next(input, 1);

		desc[i].addr = next_address(input);
		desc[i].len = next(input, 2);
		desc[i].id = (uint16_t)(next(input, 1) % (RING + 1));
		desc[i].flags = (kind & 7) | (kind & 8 ? PACKED_USED : PACKED_AVAIL);
		if (kind & 16)
			desc[i].flags ^= PACKED_USED;
		if (kind & 32)
			desc[i].addr = DRIVER_GUEST + AT_TABLE + desc[i].id * 16;
		if (kind & 64)
			desc[i].len = (desc[i].len & 63) * 16;
		if (kind & 128)
			desc[i].id = (uint16_t)i;
	}
}

/* As of an earlier life, more or less; small numbers are those that make sense. */
static void fill_record(struct inflight_packed *record, struct input *input)
{
	memset(record, 0, vring_record_size(VIRTIO_F_RING_PACKED, RING));
	record->version = (uint16_t)(next(input, 1) % 8 ? 1 : next(input, 1));
	record->desc_num = (uint16_t)(next(input, 1) % 16 ? RING : next(input, 2));
	record->free_head = (uint16_t)(next(input, 1) % (RING + 2));
	record->old_free_head = (uint16_t)(next(input, 1) % (RING + 2));
	record->used.together = next(input, 4);
	for (unsigned i = 0; i < 8; i++)
		((uint8_t *)&record->used)[i] %= RING + 1;
	for (unsigned i = 0; i < RING; i++) {
		struct inflight_packed_desc *desc = &record->desc[i];
		uint32_t kind = next(input, 1);

		desc->inflight = kind & 1;
		desc->next = (uint16_t)(kind & 2 ? i + 1 : next(input, 1) % (RING + 2));
		desc->num = (uint16_t)(kind & 4 ? 1 : next(input, 1) % (RING + 2));
		desc->id = (uint16_t)(kind & 8 ? i : next(input, 1) % (RING + 2));
		desc->counter = kind & 16 ? i : next(input, 4);
		desc->flags = (uint16_t)(kind >> 5);
		desc->addr = next_address(input);
		desc->len = (uint32_t)next(input, 1) * 16;
	}
}

static void carry_out(void)
{
	int error = blk_request_parse(&request, &blk, blk.features);

	while (!error && blk_request_next(&request)) {
		error = disk_check(&blk.facts, &request.block);
		if (!error)
			touch(&request.block);
	}
	blk_request_finish(&request, error);
}

/* What was taken and not yet given back. */
struct taken {
	uint16_t id[RING];
	unsigned count;
};

static void give_some(struct vring *ring, struct taken *taken, uint32_t which)
{
	while (taken->count > (which & 3)) {
		unsigned i = which % taken->count;

		vring_give(ring, taken->id[i], which & 64);
		taken->id[i] = taken->id[--taken->count];
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct taken taken = { .count = 0 };
	struct packed_driver packed;
	struct vring_setup setup;
	struct vring ring;
	uint32_t features, base;

	if (!memory)
		ring_begin(RING);
	features = next(&input, 1);
	base = features & 4 ? PACKED_START : next(&input, 4);
	setup = driver_setup(&driver, VIRTIO_F_RING_PACKED | (uint64_t)(features & 3) << 28, base);
	packed_init(&packed, &driver, base);
	packed.mine->place = (uint16_t)next(&input, 2);
	packed.mine->flags = (uint16_t)next(&input, 1);
	fill_descs(packed.desc, RING, &input);
	fill_descs((void *)driver_table(&driver), TABLE, &input);
	if (features & 64) {
		setup.record = driver.bytes + AT_RECORD;
		setup.record_bytes = vring_record_size(setup.features, RING) - (features & 128 ? 0 : 64);
		fill_record(setup.record, &input);
	}
	memcpy(driver.bytes + AT_DATA, input.data, input.size < 4096 ? input.size : 4096);
	atomic_store(&blk.writeback, features & 8);
	if (vring_init(&ring, &setup, memory))
		return 0;
	request.chain.iov = request.iov;
	request.chain.iov_max = features & 16 ? BLK_REQUEST_IOV_MAX : 5;
	do {
		vring_quiet(&ring);
		while (vring_take(&ring, &request.chain) == VRING_TAKEN) {
			if (taken.count == RING)
				abort(); /* P1 */
			taken.id[taken.count++] = request.chain.id;
			carry_out();
			if (features & 32)
				break;
		}
		give_some(&ring, &taken, next(&input, 1));
		vring_publish(&ring);
		vring_listen(&ring);
		/* The driver goes on: some descriptors become available, some change. */
		packed.desc[next(&input, 1) % RING].flags = (uint16_t)next(&input, 2);
		fill_descs(&packed.desc[next(&input, 1) % (RING - 2)], 2, &input);
	} while (input.size > 0);
	return 0;
}
