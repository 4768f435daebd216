/* Features and configuration space say what the disk can do and no more, and drivers write what they may.  If this
 * fails, a guest formats past the end of its disk, does not flush a volatile cache, or hangs on what it was offered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <endian.h>
#include <string.h>

#include "virtio/virtio_blk.h"

static const struct disk_facts able = {
	.size = 1 << 30,
	.block_size_min = 1,
	.block_size_preferred = 4096,
	.data_max = 32 << 20,
	.volatile_cache = true,
	.can_flush = true,
	.can_fua = true,
	.can_trim = true,
	.can_zero = true,
};

static struct virtio_blk_space space_of(struct virtio_blk *blk)
{
	struct virtio_blk_space space;

	virtio_blk_read_space(blk, 0, 0, &space, sizeof(space));
	return space;
}

static struct virtio_blk device_of(struct disk_facts facts, unsigned queues, bool readonly)
{
	struct virtio_blk_config config = { .facts = facts, .num_queues = queues, .readonly = readonly };
	struct virtio_blk blk;

	assert_int_equal(virtio_blk_init(&blk, &config), 0);
	return blk;
}

static void features_follow_the_facts(void **state)
{
	struct disk_facts facts = able;
	const uint64_t always = VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED | VIRTIO_F_RING_INDIRECT_DESC |
				VIRTIO_F_RING_EVENT_IDX | VIRTIO_BLK_F_SIZE_MAX | VIRTIO_BLK_F_SEG_MAX |
				VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_TOPOLOGY;
	const uint64_t cache = VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_CONFIG_WCE;

	(void)state;
	assert_int_equal(device_of(facts, 1, false).features,
		always | cache | VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES);
	assert_int_equal(
		device_of(facts, 2, true).features, always | cache | VIRTIO_BLK_F_MQ | VIRTIO_BLK_F_RO);
	facts.can_trim = facts.can_zero = facts.can_flush = false;
	assert_int_equal(device_of(facts, 1, false).features, always);
	facts.readonly = true;
	assert_int_equal(device_of(facts, 1, false).features, always | VIRTIO_BLK_F_RO);
}

static void the_space_is_the_disk_in_blocks(void **state)
{
	static const struct {
		uint32_t min, preferred;
		uint64_t size;
		uint32_t blk_size, physical_exp, min_io, alignment;
		uint64_t capacity;
	} cases[] = {
		{ 1, 4096, 1 << 30, 512, 3, 8, 8, 1 << 21 },
		{ 1, 1, 1000, 512, 0, 1, 1, 1 },
		{ 512, 512, 1023, 512, 0, 1, 1, 1 },
		{ 4096, 4096, 12288 + 512, 4096, 0, 1, 8, 24 },
		{ 512, 65536, 1 << 20, 512, 3, 128, 128, 2048 },
		{ 512, 32 << 20, 1 << 30, 512, 3, 32768, 128, 1 << 21 },
		{ 65536, 65536, 1 << 20, 65536, 0, 1, 128, 2048 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct disk_facts facts = able;
		struct virtio_blk blk;
		struct virtio_blk_space space;

		facts.block_size_min = cases[i].min;
		facts.block_size_preferred = cases[i].preferred;
		facts.size = cases[i].size;
		blk = device_of(facts, 3, false);
		space = space_of(&blk);
		assert_int_equal(le64toh(space.capacity), cases[i].capacity);
		assert_int_equal(le32toh(space.blk_size), cases[i].blk_size);
		assert_int_equal(space.physical_block_exp, cases[i].physical_exp);
		assert_int_equal(le16toh(space.min_io_size), cases[i].min_io);
		assert_int_equal(le32toh(space.discard_sector_alignment), cases[i].alignment);
		assert_int_equal(le16toh(space.num_queues), 3);
		assert_int_equal(le32toh(space.seg_max), VIRTIO_BLK_SEG_MAX);
		/* A range of the most sectors there are is one block request, on any grid. */
		assert_true(le32toh(space.max_discard_sectors) * 512ull <= UINT32_MAX);
		assert_int_equal(le32toh(space.max_discard_sectors) * 512ull % 65536, 0);
		assert_int_equal(space.max_write_zeroes_sectors, space.max_discard_sectors);
		assert_int_equal(space.writeback, 1);
	}
}

/* A segment of that size goes to the disk as it is, whatever the disk's grid. But drivers cannot make pages smaller, and
 * SeaBIOS does not start where SEG_MAX segments have a multiple of 65536 sectors. */
static void a_segment_is_as_long_as_the_disk_takes_at_once(void **state)
{
	static const struct {
		uint32_t block_size_min, data_max, size_max;
	} cases[] = {
		{ 1, 8 << 20, 8 << 20 },
		{ 1, 32 << 20, 8 << 20 },
		{ 512, 1 << 20, 1 << 20 },
		{ 1, 100001, 99840 },
		{ 4096, 100000, 98304 },
		{ 65536, 65536, 65536 },
		{ 1, 4095, 4096 },
		{ 512, 512, 4096 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct disk_facts facts = able;
		struct virtio_blk blk;

		facts.block_size_min = cases[i].block_size_min;
		facts.data_max = cases[i].data_max;
		blk = device_of(facts, 1, false);
		assert_int_equal(le32toh(space_of(&blk).size_max), cases[i].size_max);
	}
}

static void writeback_is_what_drivers_may_write(void **state)
{
	struct virtio_blk blk = device_of(able, 1, false);
	const uint8_t bytes[2] = { 0, 1 }, two = 2;
	struct disk_facts no_flush = able;
	struct virtio_blk_space space = space_of(&blk);

	(void)state;
	assert_int_equal(virtio_blk_write_space(&blk, 0, bytes, 1, false), -EPERM);
	assert_int_equal(virtio_blk_write_space(&blk, 31, bytes, 2, false), -EPERM);
	assert_int_equal(virtio_blk_write_space(&blk, 32, bytes, 2, false), -EPERM);
	assert_int_equal(virtio_blk_write_space(&blk, 32, bytes, 0, false), -EPERM);
	assert_int_equal(virtio_blk_write_space(&blk, 32, &two, 1, false), -EINVAL);
	assert_int_equal(virtio_blk_write_space(&blk, UINT32_MAX, bytes, 1, false), -EPERM);
	assert_int_equal(space_of(&blk).writeback, 1);
	assert_int_equal(virtio_blk_write_space(&blk, 32, &bytes[0], 1, false), 0);
	assert_int_equal(space_of(&blk).writeback, 0);
	/* A migrated device's state: the whole space, of which writeback is all there is to restore. */
	space.capacity = 0;
	assert_int_equal(virtio_blk_write_space(&blk, 0, &space, sizeof(space), true), 0);
	assert_int_equal(space_of(&blk).writeback, 1);
	assert_int_not_equal(space_of(&blk).capacity, 0);
	virtio_blk_write_space(&blk, 32, &bytes[0], 1, false);
	virtio_blk_reset(&blk);
	assert_int_equal(space_of(&blk).writeback, 1);

	no_flush.can_flush = false;
	blk = device_of(no_flush, 1, false);
	assert_int_equal(space_of(&blk).writeback, 0);
	assert_int_equal(virtio_blk_write_space(&blk, 32, &bytes[1], 1, false), -EPERM);
}

/* A driver that can turn the cache off but not flush it; legacy ones see no difference. */
static void writeback_is_off_for_who_cannot_flush(void **state)
{
	static const struct {
		uint64_t features;
		uint8_t writeback;
	} cases[] = {
		{ VIRTIO_F_VERSION_1 | VIRTIO_BLK_F_CONFIG_WCE, 0 },
		{ VIRTIO_F_VERSION_1 | VIRTIO_BLK_F_CONFIG_WCE | VIRTIO_BLK_F_FLUSH, 1 },
		{ VIRTIO_F_VERSION_1, 1 },
		{ VIRTIO_BLK_F_CONFIG_WCE, 1 },
	};
	struct virtio_blk blk = device_of(able, 1, false);

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t writeback;

		virtio_blk_read_space(&blk, cases[i].features, 32, &writeback, 1);
		assert_int_equal(writeback, cases[i].writeback);
	}
}

static void what_is_past_the_space_reads_as_zeroes(void **state)
{
	struct virtio_blk blk = device_of(able, 1, false);
	uint8_t bytes[80];

	(void)state;
	memset(bytes, 0xff, sizeof(bytes));
	virtio_blk_read_space(&blk, 0, 56, bytes, sizeof(bytes));
	assert_int_equal(bytes[0], 1); /* write_zeroes_may_unmap */
	for (unsigned i = 1; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], 0);
	virtio_blk_read_space(&blk, 0, UINT32_MAX, bytes, 1);
	assert_int_equal(bytes[0], 0);
}

static void a_device_that_cannot_be_is_refused(void **state)
{
	struct virtio_blk_config config = { .facts = able, .num_queues = 0 };
	struct virtio_blk blk;

	(void)state;
	assert_int_equal(virtio_blk_init(&blk, &config), -EINVAL);
	config.num_queues = VIRTIO_BLK_QUEUES_MAX + 1;
	assert_int_equal(virtio_blk_init(&blk, &config), -EINVAL);
	config.num_queues = 1;
	config.serial = "twenty-one characters";
	assert_int_equal(virtio_blk_init(&blk, &config), -EINVAL);
	config.serial = "";
	assert_int_equal(virtio_blk_init(&blk, &config), 0);
	config.facts.size = 511;
	assert_int_equal(virtio_blk_init(&blk, &config), -EINVAL);
	config.facts.size = 4096;
	config.facts.data_max = 511;
	assert_int_equal(virtio_blk_init(&blk, &config), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(features_follow_the_facts),
		cmocka_unit_test(the_space_is_the_disk_in_blocks),
		cmocka_unit_test(a_segment_is_as_long_as_the_disk_takes_at_once),
		cmocka_unit_test(writeback_is_what_drivers_may_write),
		cmocka_unit_test(writeback_is_off_for_who_cannot_flush),
		cmocka_unit_test(what_is_past_the_space_reads_as_zeroes),
		cmocka_unit_test(a_device_that_cannot_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
