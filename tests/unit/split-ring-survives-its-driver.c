/* A split virtqueue gives each chain once and whole, and nothing a driver writes into it leads out of the guest's memory
 * or into a loop.  If this fails, a guest can crash the daemon, read the host, or lose requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "split_driver.h"

enum { SIZE = 16, IOV_MAX_HERE = 24 };

#define INDIRECT  VIRTIO_F_RING_INDIRECT_DESC
#define EVENT_IDX VIRTIO_F_RING_EVENT_IDX

struct world {
	struct driver driver;
	struct guest_memory *memory;
	struct vring ring;
	struct iovec iov[IOV_MAX_HERE];
	struct vring_chain chain;
};

static void world_begin(struct world *w, uint64_t features, uint16_t base)
{
	struct vring_setup setup;

	memset(w, 0, sizeof(*w));
	driver_init(&w->driver, SIZE);
	w->memory = driver_memory(&w->driver);
	w->driver.avail[1] = base;
	*driver_used_idx(&w->driver) = base;
	setup = driver_setup(&w->driver, features, base);
	assert_int_equal(vring_init(&w->ring, &setup, w->memory), 0);
	w->chain.iov = w->iov;
	w->chain.iov_max = IOV_MAX_HERE;
}

static void world_end(struct world *w)
{
	guest_memory_put(w->memory);
	driver_fini(&w->driver);
}

static void fill(struct world *w, uint64_t at, uint8_t value, size_t length)
{
	memset(w->driver.bytes + at, value, length);
}

static void assert_piece(const struct iovec *iov, uint8_t value, size_t length)
{
	assert_int_equal(iov->iov_len, length);
	for (size_t i = 0; i < length; i++)
		assert_int_equal(((uint8_t *)iov->iov_base)[i], value);
}

static void chains_come_in_order_and_whole(void **state)
{
	struct world w;
	struct driver_desc *desc;

	(void)state;
	world_begin(&w, 0, 65530);
	desc = w.driver.desc;
	fill(&w, AT_DATA, 1, 16);
	fill(&w, AT_DATA + 100, 2, 50);
	fill(&w, AT_DATA + 200, 3, 33);
	driver_describe(&desc[5], AT_DATA, 16, DESC_NEXT, 2);
	driver_describe(&desc[2], AT_DATA + 100, 50, DESC_NEXT | DESC_WRITE, 9);
	driver_describe(&desc[9], AT_DATA + 200, 33, DESC_WRITE, 5);
	driver_describe(&desc[0], AT_DATA, 16, 0, 0);
	assert_int_equal(vring_take(&w.ring, &w.chain), VRING_EMPTY);
	for (unsigned round = 0; round < 20; round++) {
		driver_offer(&w.driver, 5);
		driver_offer(&w.driver, 0);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_TAKEN);
		assert_int_equal(w.chain.id, 5);
		assert_int_equal(w.chain.fault, VRING_CHAIN_SOUND);
		assert_int_equal(w.chain.readable, 1);
		assert_int_equal(w.chain.writable, 2);
		assert_int_equal(w.chain.readable_bytes, 16);
		assert_int_equal(w.chain.writable_bytes, 83);
		assert_piece(&w.iov[0], 1, 16);
		assert_piece(&w.iov[1], 2, 50);
		assert_piece(&w.iov[2], 3, 33);
		assert_ptr_equal(w.chain.last_writable, (uint8_t *)w.iov[2].iov_base + 32);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_TAKEN);
		assert_int_equal(w.chain.id, 0);
		assert_null(w.chain.last_writable);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_EMPTY);
		vring_give(&w.ring, 0, 0);
		vring_give(&w.ring, 5, 83);
		assert_int_equal(*driver_used_idx(&w.driver), (uint16_t)(65530 + 2 * round));
		assert_true(vring_publish(&w.ring));
		assert_int_equal(*driver_used_idx(&w.driver), (uint16_t)(65532 + 2 * round));
		assert_int_equal(driver_used_at(&w.driver, (uint16_t)(65530 + 2 * round)).id, 0);
		assert_int_equal(driver_used_at(&w.driver, (uint16_t)(65531 + 2 * round)).id, 5);
		assert_int_equal(driver_used_at(&w.driver, (uint16_t)(65531 + 2 * round)).len, 83);
	}
	assert_int_equal(vring_base(&w.ring), (uint16_t)(65530 + 40));
	world_end(&w);
}

static void indirect_tables_stand_for_their_chains(void **state)
{
	struct world w;
	struct driver_desc *table;

	(void)state;
	world_begin(&w, INDIRECT, 0);
	table = driver_table(&w.driver);
	fill(&w, AT_DATA, 1, 16);
	fill(&w, AT_DATA + 100, 2, 50);
	driver_describe(&w.driver.desc[0], AT_DATA, 16, DESC_NEXT, 3);
	/* The writable flag on it means nothing. */
	driver_describe(&w.driver.desc[3], AT_TABLE, 4 * 16, DESC_INDIRECT | DESC_WRITE, 0);
	driver_describe(&table[0], AT_DATA, 16, DESC_NEXT, 2);
	driver_describe(&table[2], AT_DATA + 100, 50, DESC_WRITE, 1);
	driver_offer(&w.driver, 0);
	assert_int_equal(vring_take(&w.ring, &w.chain), VRING_TAKEN);
	assert_int_equal(w.chain.readable, 2);
	assert_int_equal(w.chain.writable, 1);
	assert_piece(&w.iov[1], 1, 16);
	assert_piece(&w.iov[2], 2, 50);
	world_end(&w);
}

static void what_spans_two_regions_comes_in_two_pieces(void **state)
{
	const uint64_t end = DRIVER_REGION;
	struct driver_desc table[2];
	struct world w;

	(void)state;
	world_begin(&w, INDIRECT, 0);
	fill(&w, end - 10, 1, 10);
	fill(&w, end, 2, 30);
	driver_describe(&w.driver.desc[0], end - 10, 40, 0, 0);
	driver_offer(&w.driver, 0);
	assert_int_equal(vring_take(&w.ring, &w.chain), VRING_TAKEN);
	assert_int_equal(w.chain.readable, 2);
	assert_piece(&w.iov[0], 1, 10);
	assert_piece(&w.iov[1], 2, 30);
	/* A descriptor of an indirect table, itself in two halves. */
	driver_describe(&table[0], AT_DATA, 16, DESC_NEXT, 1);
	driver_describe(&table[1], AT_DATA + 64, 32, DESC_WRITE, 0);
	memcpy(w.driver.bytes + end - 8, table, sizeof(table));
	driver_describe(&w.driver.desc[0], end - 8, sizeof(table), DESC_INDIRECT, 0);
	driver_offer(&w.driver, 0);
	assert_int_equal(vring_take(&w.ring, &w.chain), VRING_TAKEN);
	assert_int_equal(w.chain.readable_bytes, 16);
	assert_int_equal(w.chain.writable_bytes, 32);
	world_end(&w);
}

/* Each makes a chain at head 0 that breaks the ring. */
static void head_out(struct driver *d)
{
	d->avail[2] = SIZE;
}

static void next_out(struct driver *d)
{
	driver_describe(&d->desc[0], AT_DATA, 16, DESC_NEXT, SIZE);
}

static void loop_of_two(struct driver *d)
{
	driver_describe(&d->desc[0], AT_DATA, 16, DESC_NEXT, 1);
	driver_describe(&d->desc[1], AT_DATA, 16, DESC_NEXT, 0);
}

static void loop_of_nothing(struct driver *d)
{
	driver_describe(&d->desc[0], AT_DATA, 0, DESC_NEXT, 0);
}

static void table_loop(struct driver *d)
{
	driver_describe(&d->desc[0], AT_TABLE, 32, DESC_INDIRECT, 0);
	driver_describe(&driver_table(d)[0], AT_DATA, 16, DESC_NEXT, 0);
}

static void table_in_table(struct driver *d)
{
	driver_describe(&d->desc[0], AT_TABLE, 32, DESC_INDIRECT, 0);
	driver_describe(&driver_table(d)[0], AT_TABLE, 32, DESC_INDIRECT, 0);
}

static void table_and_next(struct driver *d)
{
	driver_describe(&d->desc[0], AT_TABLE, 32, DESC_INDIRECT | DESC_NEXT, 1);
}

static void table_of_nothing(struct driver *d)
{
	driver_describe(&d->desc[0], AT_TABLE, 0, DESC_INDIRECT, 0);
}

static void table_crooked(struct driver *d)
{
	driver_describe(&d->desc[0], AT_TABLE, 33, DESC_INDIRECT, 0);
}

static void table_next_out(struct driver *d)
{
	driver_describe(&d->desc[0], AT_TABLE, 32, DESC_INDIRECT, 0);
	driver_describe(&driver_table(d)[0], AT_DATA, 16, DESC_NEXT, 2);
}

static void table_nowhere(struct driver *d)
{
	driver_describe(&d->desc[0], 1ull << 40, 32, DESC_INDIRECT, 0);
}

static void table_leaves_memory(struct driver *d)
{
	driver_describe(&d->desc[0], 2 * DRIVER_REGION - 16, 48, DESC_INDIRECT, 0);
	driver_describe((void *)(d->bytes + 2 * DRIVER_REGION - 16), AT_DATA, 16, DESC_NEXT, 1);
}

static void table_huge_loop(struct driver *d)
{
	driver_describe(&d->desc[0], AT_TABLE, 0xfffffff0, DESC_INDIRECT, 0);
	driver_describe(&driver_table(d)[0], AT_DATA, 0, DESC_NEXT, 0);
}

static void readable_last(struct driver *d)
{
	driver_describe(&d->desc[0], AT_DATA, 16, DESC_NEXT | DESC_WRITE, 1);
	driver_describe(&d->desc[1], AT_DATA, 16, 0, 0);
}

static void index_jump(struct driver *d)
{
	d->avail[1] = SIZE + 1;
}

static void index_back(struct driver *d)
{
	d->avail[1] = 0xffff;
}

static void what_breaks_the_rules_breaks_the_ring_alone(void **state)
{
	static const struct {
		void (*spoil)(struct driver *d);
		uint64_t features;
		const char *why;
	} cases[] = {
		{ head_out, 0, "a descriptor's index is out of its table" },
		{ next_out, 0, "a descriptor's index is out of its table" },
		{ loop_of_two, 0, "a chain of descriptors is a loop" },
		{ loop_of_nothing, 0, "a chain of descriptors is a loop" },
		{ table_loop, INDIRECT, "a chain of descriptors is a loop" },
		{ table_loop, 0, "it has an indirect descriptor, which was not negotiated" },
		{ table_in_table, INDIRECT, "an indirect table has an indirect descriptor" },
		{ table_and_next, INDIRECT, "an indirect descriptor has a next one" },
		{ table_of_nothing, INDIRECT, "an indirect table's length is no multiple of 16" },
		{ table_crooked, INDIRECT, "an indirect table's length is no multiple of 16" },
		{ table_next_out, INDIRECT, "a descriptor's index is out of its table" },
		{ table_nowhere, INDIRECT, "an indirect table is not in the guest's memory" },
		{ table_leaves_memory, INDIRECT, "an indirect table is not in the guest's memory" },
		{ table_huge_loop, INDIRECT, "a chain of descriptors is a loop" },
		{ readable_last, 0, "a chain has a readable buffer after a writable one" },
		{ index_jump, 0, "its available index jumps by more than its size" },
		{ index_back, 0, "its available index jumps by more than its size" },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world w;

		world_begin(&w, cases[i].features, 0);
		driver_offer(&w.driver, 0);
		cases[i].spoil(&w.driver);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_BROKEN);
		assert_string_equal(w.ring.broken, cases[i].why);
		/* For ever, and what was taken before can still be given back. */
		driver_describe(&w.driver.desc[0], AT_DATA, 16, 0, 0);
		w.driver.avail[1] = 1;
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_BROKEN);
		vring_give(&w.ring, 0, 0);
		vring_publish(&w.ring);
		world_end(&w);
	}
}

static void outstanding_chains_never_exceed_the_ring(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, 0, 0);
	driver_describe(&w.driver.desc[0], AT_DATA, 16, 0, 0);
	for (unsigned i = 0; i < SIZE; i++) {
		driver_offer(&w.driver, 0);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_TAKEN);
	}
	driver_offer(&w.driver, 0);
	assert_int_equal(vring_take(&w.ring, &w.chain), VRING_BROKEN);
	world_end(&w);
}

static void what_was_made_available_stays_so(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, 0, 0);
	driver_describe(&w.driver.desc[0], AT_DATA, 16, 0, 0);
	for (unsigned i = 0; i < 3; i++) {
		driver_offer(&w.driver, 0);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_TAKEN);
	}
	w.driver.avail[1] = 1;
	assert_int_equal(vring_take(&w.ring, &w.chain), VRING_BROKEN);
	world_end(&w);
}

static void a_bad_buffer_spoils_only_its_chain(void **state)
{
	struct world w;
	struct driver_desc *table;

	(void)state;
	world_begin(&w, INDIRECT, 0);
	/* Out of memory, past its end, and over the end of all addresses. */
	for (unsigned i = 0; i < 3; i++) {
		const uint64_t at[] = { 1ull << 40, 2 * DRIVER_REGION - 8, ~0ull - DRIVER_GUEST - 8 };

		driver_describe(&w.driver.desc[0], AT_DATA, 16, DESC_NEXT, 1);
		driver_describe(&w.driver.desc[1], at[i], 64, DESC_NEXT | DESC_WRITE, 2);
		driver_describe(&w.driver.desc[2], AT_DATA + 77, 1, DESC_WRITE, 0);
		driver_offer(&w.driver, 0);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_TAKEN);
		assert_int_equal(w.chain.fault, VRING_CHAIN_UNMAPPED);
		assert_non_null(w.chain.last_writable);
		fill(&w, AT_DATA + 77, 0xee, 1);
		assert_int_equal(*w.chain.last_writable, 0xee);
	}
	/* The status itself is nowhere. */
	driver_describe(&w.driver.desc[0], AT_DATA, 16, DESC_NEXT, 1);
	driver_describe(&w.driver.desc[1], 1ull << 40, 1, DESC_WRITE, 2);
	driver_offer(&w.driver, 0);
	assert_int_equal(vring_take(&w.ring, &w.chain), VRING_TAKEN);
	assert_int_equal(w.chain.fault, VRING_CHAIN_UNMAPPED);
	assert_null(w.chain.last_writable);
	/* More pieces than there is room for. */
	table = driver_table(&w.driver);
	driver_describe(&w.driver.desc[0], AT_TABLE, 16 * (IOV_MAX_HERE + 2), DESC_INDIRECT, 0);
	for (unsigned i = 0; i <= IOV_MAX_HERE; i++)
		driver_describe(&table[i], AT_DATA + i, 1, DESC_NEXT | DESC_WRITE, i + 1);
	driver_describe(&table[IOV_MAX_HERE + 1], AT_DATA + 99, 3, DESC_WRITE, 0);
	driver_offer(&w.driver, 0);
	assert_int_equal(vring_take(&w.ring, &w.chain), VRING_TAKEN);
	assert_int_equal(w.chain.fault, VRING_CHAIN_TOO_LONG);
	fill(&w, AT_DATA + 101, 0xdd, 1);
	assert_int_equal(*w.chain.last_writable, 0xdd);
	/* And the ring goes on. */
	driver_describe(&w.driver.desc[0], AT_DATA, 16, 0, 0);
	driver_offer(&w.driver, 0);
	assert_int_equal(vring_take(&w.ring, &w.chain), VRING_TAKEN);
	assert_int_equal(w.chain.fault, VRING_CHAIN_SOUND);
	world_end(&w);
}

static void take_and_give(struct world *w, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		driver_offer(&w->driver, 0);
		assert_int_equal(vring_take(&w->ring, &w->chain), VRING_TAKEN);
		vring_give(&w->ring, 0, 0);
	}
}

static void calls_come_at_the_used_event_only(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, EVENT_IDX, 65533);
	driver_describe(&w.driver.desc[0], AT_DATA, 16, 0, 0);
	/* The flag means nothing with the event index. */
	w.driver.avail[0] = 1;
	*driver_used_event(&w.driver) = 65535;
	take_and_give(&w, 2); /* entries 65533 and 65534 */
	assert_false(vring_publish(&w.ring));
	assert_false(vring_publish(&w.ring));
	take_and_give(&w, 3); /* 65535, 0, 1 */
	assert_true(vring_publish(&w.ring));
	take_and_give(&w, 3);
	assert_false(vring_publish(&w.ring));
	*driver_used_event(&w.driver) = 5;
	take_and_give(&w, 1); /* 5 */
	assert_true(vring_publish(&w.ring));
	world_end(&w);
}

static void calls_obey_the_flag_without_event_index(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, 0, 0);
	driver_describe(&w.driver.desc[0], AT_DATA, 16, 0, 0);
	take_and_give(&w, 1);
	assert_true(vring_publish(&w.ring));
	w.driver.avail[0] = 1;
	take_and_give(&w, 1);
	assert_false(vring_publish(&w.ring));
	world_end(&w);
}

static void kicks_are_asked_for_only_when_listening(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, 0, 0);
	driver_describe(&w.driver.desc[0], AT_DATA, 16, 0, 0);
	vring_quiet(&w.ring);
	assert_int_equal(driver_used_flags(&w.driver), 1);
	assert_false(vring_listen(&w.ring));
	assert_int_equal(driver_used_flags(&w.driver), 0);
	/* It came before the driver could know: it has to be found without a kick. */
	driver_offer(&w.driver, 0);
	assert_true(vring_listen(&w.ring));
	world_end(&w);

	world_begin(&w, EVENT_IDX, 100);
	driver_describe(&w.driver.desc[0], AT_DATA, 16, 0, 0);
	assert_false(vring_listen(&w.ring));
	assert_int_equal(driver_avail_event(&w.driver), 100);
	vring_quiet(&w.ring);
	take_and_give(&w, 3);
	assert_int_equal(driver_avail_event(&w.driver), 100);
	assert_int_equal(driver_used_flags(&w.driver), 0);
	assert_false(vring_listen(&w.ring));
	assert_int_equal(driver_avail_event(&w.driver), 103);
	driver_offer(&w.driver, 0);
	assert_true(vring_listen(&w.ring));
	world_end(&w);
}

static void a_setup_that_cannot_be_is_refused(void **state)
{
	struct world w;
	static const struct {
		int64_t size, desc, avail, used, base; /* added to what is right */
	} cases[] = {
		{ .size = -SIZE },
		{ .size = 1 },
		{ .size = 2048 - SIZE },
		{ .size = INT32_MIN },
		{ .desc = 8 },
		{ .avail = 1 },
		{ .used = 2 },
		{ .desc = -0x1000 },
		{ .avail = 1ll << 50 },
		{ .used = (int64_t)DRIVER_REGION - AT_USED - 4 },
		{ .base = SIZE + 1 },
		{ .base = -1 },
	};

	(void)state;
	world_begin(&w, 0, 0);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vring_setup setup = driver_setup(&w.driver, 0, 0);

		setup.size += (uint32_t)cases[i].size;
		setup.desc += (uint64_t)cases[i].desc;
		setup.avail += (uint64_t)cases[i].avail;
		setup.used += (uint64_t)cases[i].used;
		setup.base = (uint16_t)(setup.base + cases[i].base);
		assert_int_equal(vring_init(&w.ring, &setup, w.memory), -EINVAL);
		assert_non_null(w.ring.broken);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_BROKEN);
		assert_false(vring_publish(&w.ring));
		assert_int_equal(vring_base(&w.ring), setup.base);
	}
	/* What was in flight elsewhere when the ring came here: the base may be ahead of the used index. */
	struct vring_setup setup = driver_setup(&w.driver, 0, SIZE);

	w.driver.avail[1] = SIZE;
	assert_int_equal(vring_init(&w.ring, &setup, w.memory), 0);
	assert_int_equal(vring_take(&w.ring, &w.chain), VRING_EMPTY);
	world_end(&w);
}

static void a_ring_moves_with_its_memory(void **state)
{
	struct world w;
	struct guest_memory *other, *none;
	const char *why;

	(void)state;
	world_begin(&w, 0, 0);
	driver_describe(&w.driver.desc[0], AT_DATA, 16, 0, 0);
	take_and_give(&w, 1);
	other = driver_memory(&w.driver);
	assert_int_equal(vring_remap(&w.ring, other), 0);
	guest_memory_put(w.memory);
	w.memory = other;
	assert_int_equal(guest_memory_new(NULL, NULL, 0, &none, &why), 0);
	assert_int_equal(vring_remap(&w.ring, none), -EFAULT);
	guest_memory_put(none);
	/* It stays where it was. */
	take_and_give(&w, 1);
	vring_publish(&w.ring);
	assert_int_equal(*driver_used_idx(&w.driver), 2);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chains_come_in_order_and_whole),
		cmocka_unit_test(indirect_tables_stand_for_their_chains),
		cmocka_unit_test(what_spans_two_regions_comes_in_two_pieces),
		cmocka_unit_test(what_breaks_the_rules_breaks_the_ring_alone),
		cmocka_unit_test(outstanding_chains_never_exceed_the_ring),
		cmocka_unit_test(what_was_made_available_stays_so),
		cmocka_unit_test(a_bad_buffer_spoils_only_its_chain),
		cmocka_unit_test(calls_come_at_the_used_event_only),
		cmocka_unit_test(calls_obey_the_flag_without_event_index),
		cmocka_unit_test(kicks_are_asked_for_only_when_listening),
		cmocka_unit_test(a_setup_that_cannot_be_is_refused),
		cmocka_unit_test(a_ring_moves_with_its_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
