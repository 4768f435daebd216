/* A guest's request becomes exactly the block requests it stands for, however the driver laid it out; a bad one is
 * answered with the status the specification names and touches no disk.  If this fails, a guest's data goes to the wrong
 * place, an acknowledged write is not stable, or a driver waits for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "virtio/blk_request.h"
#include "virtio/vring_layout.h"

enum { BYTES = 1 << 20, DONE = -1, CAPACITY = 4 << 20 };

static uint8_t bytes[BYTES]; /* the guest's memory; buffers are laid out in it one behind the other */

struct buffer {
	size_t length;
	bool writable;
};

#define R(length)             \
	{                     \
		length, false \
	}
#define W(length)            \
	{                    \
		length, true \
	}

struct world {
	struct virtio_blk blk;
	struct blk_request request;
	struct virtio_blk_header header;
	uint8_t extra[1024]; /* what follows the header */
};

static void world_begin(struct world *w, const struct disk_facts *change)
{
	struct virtio_blk_config config = {
		.facts = { .size = CAPACITY,
			.block_size_min = 512,
			.block_size_preferred = 4096,
			.data_max = 64 << 10,
			.volatile_cache = true,
			.can_flush = true,
			.can_fua = true,
			.can_trim = true,
			.can_zero = true },
		.num_queues = 1,
		.serial = "a serial of 20 chars",
	};

	memset(w, 0, sizeof(*w));
	if (change)
		config.facts = *change;
	assert_int_equal(virtio_blk_init(&w->blk, &config), 0);
	w->request.magic = BLK_REQUEST_MAGIC;
	w->request.chain.iov = w->request.iov;
	w->request.chain.iov_max = BLK_REQUEST_IOV_MAX;
}

/* What the disk of most tests can, for changing. */
static struct disk_facts facts_of(struct world *w)
{
	world_begin(w, NULL);
	return w->blk.facts;
}

/* Puts header and extra into the readable buffers, as far as they go, and parses. */
static int ask(struct world *w, uint32_t type, uint64_t sector, const struct buffer *buffers, unsigned count)
{
	struct vring_chain *chain = &w->request.chain;
	struct {
		struct virtio_blk_header header;
		uint8_t extra[sizeof(w->extra)];
	} readable = { .header = { type, 0, sector } };
	uint8_t *at = bytes;
	size_t told = 0;

	memcpy(readable.extra, w->extra, sizeof(w->extra));
	vring_chain_begin(chain, 0);
	for (unsigned i = 0; i < count; i++) {
		struct iovec *iov = &w->request.iov[i];

		*iov = (struct iovec){ at, buffers[i].length };
		at += buffers[i].length;
		if (buffers[i].writable) {
			memset(iov->iov_base, 0xaa, iov->iov_len);
			chain->writable++;
			chain->writable_bytes += iov->iov_len;
			chain->last_writable = at - 1;
			continue;
		}
		chain->readable++;
		chain->readable_bytes += iov->iov_len;
		if (told < sizeof(readable)) {
			size_t piece = sizeof(readable) - told;

			piece = piece < iov->iov_len ? piece : iov->iov_len;
			memcpy(iov->iov_base, (char *)&readable + told, piece);
			told += piece;
		}
	}
	return blk_request_parse(&w->request, &w->blk, w->blk.features);
}

static size_t iov_bytes(const struct block_req *block)
{
	size_t sum = 0;

	for (unsigned i = 0; i < block->iov_count; i++)
		sum += block->iov[i].iov_len;
	return sum;
}

/* The next block request is this one; DONE as @op: there is none. */
static void expect(struct world *w, int op, unsigned flags, uint64_t offset, uint64_t length)
{
	struct block_req *block = &w->request.block;

	if (op == DONE) {
		assert_false(blk_request_next(&w->request));
		return;
	}
	assert_true(blk_request_next(&w->request));
	assert_int_equal(block->op, op);
	assert_int_equal(block->flags, flags);
	assert_int_equal(block->offset, offset);
	assert_int_equal(block->length, length);
	if (op == BLOCK_READ || op == BLOCK_WRITE)
		assert_int_equal(iov_bytes(block), length);
	else
		assert_int_equal(block->iov_count, 0);
	assert_int_equal(disk_check(&w->blk.facts, block), 0);
}

static void expect_status(struct world *w, int error, uint8_t status, uint32_t written)
{
	uint8_t *at = w->request.chain.last_writable;

	assert_int_equal(blk_request_finish(&w->request, error), written);
	assert_int_equal(*at, status);
}

#define ASK(w, type, sector, ...)                                    \
	ask(w, type, sector, (const struct buffer[]){ __VA_ARGS__ }, \
		sizeof((const struct buffer[]){ __VA_ARGS__ }) / sizeof(struct buffer))

static void any_layout_is_read_alike(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, NULL);
	/* The usual one, and the status at the end of the data, in two parts, and alone after several. */
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_IN, 8, R(16), W(4096), W(1)), 0);
	expect(&w, BLOCK_READ, 0, 4096, 4096);
	assert_ptr_equal(w.request.block.iov[0].iov_base, bytes + 16);
	assert_int_equal(w.request.block.iov_count, 1);
	expect(&w, DONE, 0, 0, 0);
	expect_status(&w, 0, VIRTIO_BLK_S_OK, 4097);

	assert_int_equal(ASK(&w, VIRTIO_BLK_T_IN, 8, R(3), R(12), R(1), W(100), W(413)), 0);
	expect(&w, BLOCK_READ, 0, 4096, 512);
	assert_int_equal(w.request.block.iov_count, 2);
	expect(&w, DONE, 0, 0, 0);
	expect_status(&w, 0, VIRTIO_BLK_S_OK, 513);

	memset(w.extra, 0x77, 600);
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_OUT, 3, R(528), W(1)), 0);
	expect(&w, BLOCK_WRITE, BLOCK_FUA, 1536, 512);
	assert_ptr_equal(w.request.block.iov[0].iov_base, bytes + 16);
	expect_status(&w, 0, VIRTIO_BLK_S_OK, 1);

	assert_int_equal(ASK(&w, VIRTIO_BLK_T_OUT, 3, R(10), R(6 + 511), R(1), W(1)), 0);
	expect(&w, BLOCK_WRITE, BLOCK_FUA, 1536, 512);
	assert_int_equal(w.request.block.iov_count, 2);
	assert_ptr_equal(w.request.block.iov[0].iov_base, bytes + 16);
	expect_status(&w, 0, VIRTIO_BLK_S_OK, 1);
}

static void a_bad_request_touches_no_disk(void **state)
{
	static const struct {
		int error;
		uint8_t status;
		uint32_t type;
		uint64_t sector;
		struct buffer buffers[3];
	} cases[] = {
		{ -EPROTO, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_T_IN, 0, { R(15), W(512), W(1) } },
		{ -EPROTO, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_T_OUT, 0, { W(1) } },
		{ -EINVAL, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_T_IN, 0, { R(16), W(511), W(1) } },
		{ -EINVAL, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_T_IN, 0, { R(16), W(512) } },
		{ -EINVAL, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_T_OUT, 0, { R(16), R(513), W(1) } },
		{ -ERANGE, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_T_IN, CAPACITY / 512, { R(16), W(512), W(1) } },
		{ -ERANGE, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_T_IN, CAPACITY / 512 - 1,
			{ R(16), W(1024), W(1) } },
		{ -ERANGE, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_T_OUT, UINT64_MAX, { R(16), R(512), W(1) } },
		{ -ERANGE, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_T_OUT, UINT64_MAX / 512, { R(16), R(1024), W(1) } },
		{ -ERANGE, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_T_OUT, 1ull << 55, { R(16), R(512), W(1) } },
		{ -ENOTSUP, VIRTIO_BLK_S_UNSUPP, 2, 0, { R(16), W(1) } },
		{ -ENOTSUP, VIRTIO_BLK_S_UNSUPP, 3, 0, { R(16), W(1) } },
		{ -ENOTSUP, VIRTIO_BLK_S_UNSUPP, 12, 0, { R(16), W(1) } },
		{ -ENOTSUP, VIRTIO_BLK_S_UNSUPP, 14, 0, { R(16), W(1) } },
		{ -ENOTSUP, VIRTIO_BLK_S_UNSUPP, 0x80000000, 0, { R(16), W(512), W(1) } },
		{ -EPROTO, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_T_DISCARD, 0, { R(16), W(1) } },
		{ -EPROTO, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_T_DISCARD, 0, { R(16 + 15), W(1) } },
		{ -EPROTO, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_T_WRITE_ZEROES, 0, { R(16 + 33 * 16), W(1) } },
	};
	struct world w;

	(void)state;
	world_begin(&w, NULL);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned count = 0;

		while (count < 3 && cases[i].buffers[count].length)
			count++;
		assert_int_equal(
			ask(&w, cases[i].type, cases[i].sector, cases[i].buffers, count), cases[i].error);
		blk_request_finish(&w.request, cases[i].error);
		assert_int_equal(*w.request.chain.last_writable, cases[i].status);
	}
	/* More than 4 GiB, of which these tests have no memory: the counts tell. */
	vring_chain_begin(&w.request.chain, 0);
	w.request.iov[0] = (struct iovec){ bytes, 16 };
	w.request.iov[1] = (struct iovec){ bytes + 16, 1 };
	w.request.chain.readable = w.request.chain.writable = 1;
	w.request.chain.readable_bytes = 1ull << 32;
	w.request.chain.writable_bytes = 1;
	w.request.chain.last_writable = bytes + 16;
	assert_int_equal(blk_request_parse(&w.request, &w.blk, w.blk.features), -EPROTO);
	expect_status(&w, -EPROTO, VIRTIO_BLK_S_IOERR, 1);
	/* No room for a status at all: nothing is written. */
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_OUT, 0, R(528)), -EPROTO);
	assert_int_equal(blk_request_finish(&w.request, -EPROTO), 0);
	/* A failed read says that no data is there. */
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_IN, 0, R(16), W(512), W(1)), 0);
	expect_status(&w, -EIO, VIRTIO_BLK_S_IOERR, 0);
}

static void a_faulty_chain_gets_a_status_where_it_has_one(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, NULL);
	vring_chain_begin(&w.request.chain, 0);
	w.request.chain.fault = VRING_CHAIN_UNMAPPED;
	w.request.chain.last_writable = &bytes[7];
	assert_int_equal(blk_request_parse(&w.request, &w.blk, w.blk.features), -EPROTO);
	expect_status(&w, -EPROTO, VIRTIO_BLK_S_IOERR, 0);
}

static void writes_are_stable_when_the_driver_may_think_so(void **state)
{
	struct world w;
	struct disk_facts no_fua;
	uint8_t value;
	uint64_t features;

	(void)state;
	world_begin(&w, NULL);
	features = w.blk.features;
	/* A VMM that has not looked since it connected may know of a writeback that a guest turned off. */
	assert_true(virtio_blk_writes_through(&w.blk, features));
	assert_false(virtio_blk_writes_through(&w.blk, features & ~VIRTIO_BLK_F_CONFIG_WCE));
	virtio_blk_read_space(&w.blk, 0, 0, w.extra, 32);
	assert_true(virtio_blk_writes_through(&w.blk, features));
	virtio_blk_read_space(&w.blk, 0, 32, &value, 1);
	assert_int_equal(value, 1);
	assert_false(virtio_blk_writes_through(&w.blk, features));
	assert_true(virtio_blk_writes_through(&w.blk, features & ~VIRTIO_BLK_F_FLUSH));
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_OUT, 0, R(528), W(1)), 0);
	expect(&w, BLOCK_WRITE, 0, 0, 512);
	expect(&w, DONE, 0, 0, 0);

	value = 0;
	assert_int_equal(virtio_blk_write_space(&w.blk, 32, &value, 1, false), 0);
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_OUT, 0, R(528), W(1)), 0);
	expect(&w, BLOCK_WRITE, BLOCK_FUA, 0, 512);
	expect(&w, DONE, 0, 0, 0);
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_IN, 0, R(16), W(513)), 0);
	expect(&w, BLOCK_READ, 0, 0, 512);

	/* No FUA: a flush behind it. */
	no_fua = w.blk.facts;
	no_fua.can_fua = false;
	world_begin(&w, &no_fua);
	virtio_blk_write_space(&w.blk, 32, &value, 1, false);
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_OUT, 0, R(528), W(1)), 0);
	expect(&w, BLOCK_WRITE, 0, 0, 512);
	expect(&w, BLOCK_FLUSH, 0, 0, 0);
	expect(&w, DONE, 0, 0, 0);

	/* Nothing can make it stable: nothing is promised. */
	no_fua.can_flush = false;
	world_begin(&w, &no_fua);
	assert_false(w.blk.features & (VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_CONFIG_WCE));
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_OUT, 0, R(528), W(1)), 0);
	expect(&w, BLOCK_WRITE, 0, 0, 512);
	expect(&w, DONE, 0, 0, 0);
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_FLUSH, 0, R(16), W(1)), -ENOTSUP);
}

static void a_long_request_is_cut_to_what_the_disk_takes(void **state)
{
	struct world w;
	struct disk_facts facts = facts_of(&w);
	uint64_t offset = 512;
	uint8_t *expected = bytes + 16;

	(void)state;
	facts.data_max = 1000; /* off the grid: blocks of 512 at a time then */
	facts.can_fua = false;
	world_begin(&w, &facts);
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_OUT, 1, R(16), R(300), R(1300), R(448), W(1)), 0);
	for (unsigned i = 0; i < 4; i++, offset += 512) {
		expect(&w, BLOCK_WRITE, 0, offset, 512);
		assert_ptr_equal(w.request.block.iov[0].iov_base, expected);
		expected += 512;
		/* The disk may use up what it is given. */
		for (unsigned n = 0; n < w.request.block.iov_count; n++)
			w.request.block.iov[n] = (struct iovec){ NULL, 0 };
	}
	expect(&w, BLOCK_FLUSH, 0, 0, 0);
	expect(&w, DONE, 0, 0, 0);
	expect_status(&w, 0, VIRTIO_BLK_S_OK, 1);

	assert_int_equal(ASK(&w, VIRTIO_BLK_T_IN, 1, R(16), W(512), W(513)), 0);
	expect(&w, BLOCK_READ, 0, 512, 512);
	expect(&w, BLOCK_READ, 0, 1024, 512);
	assert_ptr_equal(w.request.block.iov[0].iov_base, bytes + 16 + 512);
	expect(&w, DONE, 0, 0, 0);
	expect_status(&w, 0, VIRTIO_BLK_S_OK, 1025);
}

static void set_ranges(struct world *w, const struct virtio_blk_range *ranges, size_t size)
{
	memcpy(w->extra, ranges, size);
}

static void ranges_are_done_in_order_and_all_or_none_begun(void **state)
{
	struct world w;
	const struct virtio_blk_range zeroes[] = { { 1, 2, VIRTIO_BLK_RANGE_UNMAP }, { 9, 0, 0 },
		{ 5, 1, 0 } };
	const struct virtio_blk_range trims[] = { { 0, 8, 0 }, { CAPACITY / 512 - 8, 8, 0 } };
	struct virtio_blk_range bad[2] = { { 0, 8, 0 }, { 0, 8, 0 } };
	uint8_t off = 0;

	(void)state;
	world_begin(&w, NULL);
	virtio_blk_write_space(&w.blk, 32, &off, 1, false);
	set_ranges(&w, zeroes, sizeof(zeroes));
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_WRITE_ZEROES, 0, R(16 + 20), R(28), W(1)), 0);
	expect(&w, BLOCK_ZERO, BLOCK_FUA, 512, 1024);
	expect(&w, BLOCK_ZERO, BLOCK_FUA | BLOCK_NO_HOLE, 5 * 512, 512);
	expect(&w, DONE, 0, 0, 0);
	expect_status(&w, 0, VIRTIO_BLK_S_OK, 1);

	set_ranges(&w, trims, sizeof(trims));
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_DISCARD, 0, R(16), R(32), W(1)), 0);
	expect(&w, BLOCK_TRIM, 0, 0, 4096);
	expect(&w, BLOCK_TRIM, 0, CAPACITY - 4096, 4096);
	expect(&w, DONE, 0, 0, 0);

	bad[1].flags = VIRTIO_BLK_RANGE_UNMAP;
	set_ranges(&w, bad, sizeof(bad));
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_DISCARD, 0, R(16), R(32), W(1)), -ENOTSUP);
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_WRITE_ZEROES, 0, R(16), R(32), W(1)), 0);
	bad[1].flags = 2;
	set_ranges(&w, bad, sizeof(bad));
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_WRITE_ZEROES, 0, R(16), R(32), W(1)), -ENOTSUP);
	bad[1] = (struct virtio_blk_range){ CAPACITY / 512 - 7, 8, 0 };
	set_ranges(&w, bad, sizeof(bad));
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_DISCARD, 0, R(16), R(32), W(1)), -ERANGE);
	bad[1] = (struct virtio_blk_range){ UINT64_MAX, UINT32_MAX, 0 };
	set_ranges(&w, bad, sizeof(bad));
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_DISCARD, 0, R(16), R(32), W(1)), -ERANGE);
}

static void a_readonly_disk_is_not_changed(void **state)
{
	const struct virtio_blk_range range = { 0, 8, 0 };
	struct world w;
	struct disk_facts facts = facts_of(&w);

	(void)state;
	facts.readonly = true;
	world_begin(&w, &facts);
	set_ranges(&w, &range, sizeof(range));
	assert_true(w.blk.features & VIRTIO_BLK_F_RO);
	assert_false(w.blk.features & (VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES));
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_OUT, 0, R(528), W(1)), -EROFS);
	expect_status(&w, -EROFS, VIRTIO_BLK_S_IOERR, 1);
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_DISCARD, 0, R(32), W(1)), -EROFS);
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_WRITE_ZEROES, 0, R(32), W(1)), -EROFS);
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_IN, 0, R(16), W(513)), 0);
}

static void the_serial_fits_the_room_there_is(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, NULL);
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_GET_ID, 0, R(16), W(7), W(14)), 0);
	assert_memory_equal(bytes + 16, "a serial of 20 chars", 20);
	expect(&w, DONE, 0, 0, 0);
	expect_status(&w, 0, VIRTIO_BLK_S_OK, 21);
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_GET_ID, 0, R(16), W(9)), 0);
	assert_memory_equal(bytes + 16, "a serial", 8);
	expect_status(&w, 0, VIRTIO_BLK_S_OK, 9);
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_GET_ID, 0, R(16), W(100)), 0);
	expect_status(&w, 0, VIRTIO_BLK_S_OK, 20);
	assert_int_equal(bytes[16 + 20], 0xaa);
}

static void a_flush_is_one_flush(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, NULL);
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_FLUSH, 0, R(16), W(1)), 0);
	expect(&w, BLOCK_FLUSH, 0, 0, 0);
	expect(&w, DONE, 0, 0, 0);
	expect_status(&w, 0, VIRTIO_BLK_S_OK, 1);
}

static void nothing_read_is_nothing_asked(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, NULL);
	assert_int_equal(ASK(&w, VIRTIO_BLK_T_IN, 0, R(16), W(1)), 0);
	expect(&w, DONE, 0, 0, 0);
	expect_status(&w, 0, VIRTIO_BLK_S_OK, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_layout_is_read_alike),
		cmocka_unit_test(a_bad_request_touches_no_disk),
		cmocka_unit_test(a_faulty_chain_gets_a_status_where_it_has_one),
		cmocka_unit_test(writes_are_stable_when_the_driver_may_think_so),
		cmocka_unit_test(a_long_request_is_cut_to_what_the_disk_takes),
		cmocka_unit_test(ranges_are_done_in_order_and_all_or_none_begun),
		cmocka_unit_test(a_readonly_disk_is_not_changed),
		cmocka_unit_test(the_serial_fits_the_room_there_is),
		cmocka_unit_test(a_flush_is_one_flush),
		cmocka_unit_test(nothing_read_is_nothing_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
