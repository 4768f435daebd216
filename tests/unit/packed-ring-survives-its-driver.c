/* A packed virtqueue gives each chain once and whole, and nothing a driver writes into it leads out of the guest's
 * memory or into a loop.  If this fails, a guest can crash the daemon, read the host, or lose requests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "packed_driver.h"

/* No power of two: packed rings need not be. */
enum { SIZE = 12, IOV_MAX_HERE = 24 };

#define PACKED	  VIRTIO_F_RING_PACKED
#define INDIRECT  VIRTIO_F_RING_INDIRECT_DESC
#define EVENT_IDX VIRTIO_F_RING_EVENT_IDX

struct world {
	struct driver driver;
	struct packed_driver packed;
	struct guest_memory *memory;
	struct vring ring;
	struct iovec iov[IOV_MAX_HERE];
	struct vring_chain chain;
};

static void world_begin(struct world *w, uint64_t features)
{
	struct vring_setup setup;

	memset(w, 0, sizeof(*w));
	driver_init(&w->driver, SIZE);
	packed_init(&w->packed, &w->driver, PACKED_START);
	w->memory = driver_memory(&w->driver);
	setup = driver_setup(&w->driver, PACKED | features, PACKED_START);
	assert_int_equal(vring_init(&w->ring, &setup, w->memory), 0);
	w->chain.iov = w->iov;
	w->chain.iov_max = IOV_MAX_HERE;
}

static void world_end(struct world *w)
{
	guest_memory_put(w->memory);
	driver_fini(&w->driver);
}

static void take(struct world *w, uint16_t id)
{
	assert_int_equal(vring_take(&w->ring, &w->chain), VRING_TAKEN);
	assert_int_equal(w->chain.id, id);
}

static void assert_used(struct world *w, uint16_t id, uint16_t count, uint32_t written)
{
	const struct packed_desc *desc = packed_used(&w->packed, count);

	assert_non_null(desc);
	assert_int_equal(desc->id, id);
	assert_int_equal(!!(desc->flags & DESC_WRITE), written > 0);
	assert_int_equal(desc->len, written);
}

static void chains_come_in_order_and_whole(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, 0);
	memset(w.driver.bytes + AT_DATA, 1, 16);
	memset(w.driver.bytes + AT_DATA + 100, 2, 50);
	memset(w.driver.bytes + AT_DATA + 200, 3, 33);
	assert_int_equal(vring_take(&w.ring, &w.chain), VRING_EMPTY);
	/* 4 descriptors a round: the chains lie across the ring's end in every place. */
	for (unsigned round = 0; round < 50; round++) {
		uint16_t first = packed_describe(&w.packed, AT_DATA, 16, DESC_NEXT, 0);

		packed_describe(&w.packed, AT_DATA + 100, 50, DESC_NEXT | DESC_WRITE, 0);
		packed_describe(&w.packed, AT_DATA + 200, 33, DESC_WRITE, 7);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_EMPTY);
		packed_offer(&w.packed, first);
		packed_offer_one(&w.packed, 3);
		take(&w, 7);
		assert_int_equal(w.chain.fault, VRING_CHAIN_SOUND);
		assert_int_equal(w.chain.readable, 1);
		assert_int_equal(w.chain.writable, 2);
		assert_int_equal(w.chain.readable_bytes, 16);
		assert_int_equal(w.chain.writable_bytes, 83);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(*(uint8_t *)w.iov[i].iov_base, i + 1);
		assert_ptr_equal(w.chain.last_writable, (uint8_t *)w.iov[2].iov_base + 32);
		take(&w, 3);
		assert_null(w.chain.last_writable);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_EMPTY);
		assert_null(packed_used(&w.packed, 0));
		/* In another order than they came in. */
		vring_give(&w.ring, 3, 0);
		vring_give(&w.ring, 7, 83);
		assert_true(vring_publish(&w.ring));
		assert_used(&w, 3, 1, 0);
		assert_used(&w, 7, 3, 83);
		assert_null(packed_used(&w.packed, 0));
		if (round == 1)
			assert_int_equal(vring_base(&w.ring), 0x80088008u);
		if (round == 2)
			assert_int_equal(vring_base(&w.ring), 0);
	}
	world_end(&w);
}

static void a_full_ring_comes_round(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, 0);
	for (unsigned round = 0; round < 3; round++) {
		for (uint16_t id = 0; id < SIZE; id++)
			packed_offer_one(&w.packed, id);
		for (uint16_t id = 0; id < SIZE; id++)
			take(&w, id);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_EMPTY);
		for (uint16_t id = SIZE; id-- > 0;)
			vring_give(&w.ring, id, 0);
		vring_publish(&w.ring);
		for (uint16_t id = SIZE; id-- > 0;)
			assert_used(&w, id, 1, 0);
		/* And as one chain. */
		for (unsigned i = 0; i < SIZE; i++)
			packed_describe(&w.packed, AT_DATA, 16, i + 1 < SIZE ? DESC_NEXT : 0, 5);
		packed_offer(&w.packed, w.packed.next_avail);
		take(&w, 5);
		assert_int_equal(w.chain.readable, SIZE);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_EMPTY);
		vring_give(&w.ring, 5, 0);
		vring_publish(&w.ring);
		assert_used(&w, 5, SIZE, 0);
	}
	world_end(&w);
}

static void offer_table(struct world *w, uint64_t at, uint32_t bytes, unsigned flags)
{
	packed_offer(&w->packed, packed_describe(&w->packed, at, bytes, DESC_INDIRECT | flags, 0));
}

static void describe_entry(struct world *w, uint64_t at, uint64_t buffer, uint32_t len, unsigned flags)
{
	*(struct packed_desc *)(w->driver.bytes + at) =
		(struct packed_desc){ DRIVER_GUEST + buffer, len, 0, (uint16_t)flags };
}

static void indirect_tables_stand_for_their_chains(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, INDIRECT);
	/* Flags but the writable one mean nothing in a table, and that one nothing outside. */
	describe_entry(&w, AT_TABLE, AT_DATA, 16, DESC_NEXT | DESC_INDIRECT);
	describe_entry(&w, AT_TABLE + 16, AT_DATA + 100, 50, DESC_WRITE);
	describe_entry(&w, AT_TABLE + 32, AT_DATA + 200, 1, DESC_WRITE | PACKED_USED);
	offer_table(&w, AT_TABLE, 48, DESC_WRITE);
	take(&w, 0);
	assert_int_equal(w.chain.readable, 1);
	assert_int_equal(w.chain.writable, 2);
	assert_int_equal(w.chain.writable_bytes, 51);
	vring_give(&w.ring, 0, 51);
	assert_used(&w, 0, 1, 51);
	/* A table in two regions, a descriptor of it in both. */
	describe_entry(&w, DRIVER_REGION - 24, AT_DATA, 16, 0);
	describe_entry(&w, DRIVER_REGION - 8, AT_DATA + 64, 32, DESC_WRITE);
	offer_table(&w, DRIVER_REGION - 24, 32, 0);
	take(&w, 0);
	assert_int_equal(w.chain.readable_bytes, 16);
	assert_int_equal(w.chain.writable_bytes, 32);
	world_end(&w);
}

/* Each makes a chain that breaks the ring. */
static void offer_readable_last(struct world *w)
{
	uint16_t first = packed_describe(&w->packed, AT_DATA, 16, DESC_NEXT | DESC_WRITE, 0);

	packed_describe(&w->packed, AT_DATA, 16, 0, 0);
	packed_offer(&w->packed, first);
}

static void offer_endless(struct world *w)
{
	for (unsigned i = 0; i < SIZE; i++)
		packed_describe(&w->packed, AT_DATA, 16, DESC_NEXT, 0);
	packed_offer(&w->packed, w->packed.next_avail);
}

static void offer_endless_behind_another(struct world *w)
{
	packed_offer_one(&w->packed, 1);
	take(w, 1);
	for (unsigned i = 0; i < SIZE - 1; i++)
		packed_describe(&w->packed, AT_DATA, 16, DESC_NEXT, 0);
	packed_offer(&w->packed, 1);
}

static void offer_big_id(struct world *w)
{
	packed_offer_one(&w->packed, SIZE);
}

static void offer_id_twice(struct world *w)
{
	packed_offer_one(&w->packed, 4);
	packed_offer_one(&w->packed, 4);
	take(w, 4);
}

static void offer_table_second(struct world *w)
{
	uint16_t first = packed_describe(&w->packed, AT_DATA, 16, DESC_NEXT, 0);

	packed_describe(&w->packed, AT_TABLE, 16, DESC_INDIRECT, 0);
	packed_offer(&w->packed, first);
}

static void offer_table_and_next(struct world *w)
{
	uint16_t first = packed_describe(&w->packed, AT_TABLE, 16, DESC_INDIRECT | DESC_NEXT, 0);

	packed_describe(&w->packed, AT_DATA, 16, 0, 0);
	packed_offer(&w->packed, first);
}

static void offer_table_of_nothing(struct world *w)
{
	offer_table(w, AT_TABLE, 0, 0);
}

static void offer_crooked_table(struct world *w)
{
	offer_table(w, AT_TABLE, 33, 0);
}

static void offer_huge_table(struct world *w)
{
	offer_table(w, AT_TABLE, 16 * (VRING_CHAIN_MAX + 1), 0);
}

static void offer_largest_table(struct world *w)
{
	offer_table(w, AT_TABLE, 0xfffffff0, 0);
}

static void offer_table_nowhere(struct world *w)
{
	offer_table(w, 1ull << 40, 32, 0);
}

static void offer_table_over_the_end(struct world *w)
{
	offer_table(w, 2 * DRIVER_REGION - 16, 32, 0);
}

static void offer_table_readable_last(struct world *w)
{
	describe_entry(w, AT_TABLE, AT_DATA, 16, DESC_WRITE);
	describe_entry(w, AT_TABLE + 16, AT_DATA, 16, 0);
	offer_table(w, AT_TABLE, 32, 0);
}

static void what_breaks_the_rules_breaks_the_ring_alone(void **state)
{
	static const struct {
		void (*offer)(struct world *w);
		uint64_t features;
		const char *why;
	} cases[] = {
		{ offer_readable_last, 0, "a chain has a readable buffer after a writable one" },
		{ offer_endless, 0, "more descriptors are available than it has" },
		{ offer_endless_behind_another, 0, "more descriptors are available than it has" },
		{ offer_big_id, 0, "a buffer's id is not less than its size" },
		{ offer_id_twice, 0, "a buffer's id is available twice" },
		{ offer_table_and_next, 0, "an indirect descriptor is part of a chain" },
		{ offer_table_nowhere, 0, "it has an indirect descriptor, which was not negotiated" },
		{ offer_table_second, INDIRECT, "an indirect descriptor is part of a chain" },
		{ offer_table_and_next, INDIRECT, "an indirect descriptor is part of a chain" },
		{ offer_table_of_nothing, INDIRECT, "an indirect table's length is no multiple of 16" },
		{ offer_crooked_table, INDIRECT, "an indirect table's length is no multiple of 16" },
		{ offer_huge_table, INDIRECT, "an indirect table has more than 1024 descriptors" },
		{ offer_largest_table, INDIRECT, "an indirect table has more than 1024 descriptors" },
		{ offer_table_nowhere, INDIRECT, "an indirect table is not in the guest's memory" },
		{ offer_table_over_the_end, INDIRECT, "an indirect table is not in the guest's memory" },
		{ offer_table_readable_last, INDIRECT, "a chain has a readable buffer after a writable one" },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world w;

		world_begin(&w, cases[i].features);
		cases[i].offer(&w);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_BROKEN);
		assert_string_equal(w.ring.broken, cases[i].why);
		/* For ever. */
		packed_offer_one(&w.packed, 0);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_BROKEN);
		vring_publish(&w.ring);
		world_end(&w);
	}
}

static void what_was_taken_can_be_given_back_to_a_broken_ring(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, 0);
	packed_offer_one(&w.packed, 2);
	take(&w, 2);
	offer_big_id(&w);
	assert_int_equal(vring_take(&w.ring, &w.chain), VRING_BROKEN);
	vring_give(&w.ring, 2, 0);
	assert_true(vring_publish(&w.ring));
	assert_used(&w, 2, 1, 0);
	world_end(&w);
}

static void a_bad_buffer_spoils_only_its_chain(void **state)
{
	struct world w;
	uint16_t first;

	(void)state;
	world_begin(&w, INDIRECT);
	first = packed_describe(&w.packed, 1ull << 40, 16, DESC_NEXT, 0);
	packed_describe(&w.packed, AT_DATA + 77, 1, DESC_WRITE, 6);
	packed_offer(&w.packed, first);
	take(&w, 6);
	assert_int_equal(w.chain.fault, VRING_CHAIN_UNMAPPED);
	assert_non_null(w.chain.last_writable);
	vring_give(&w.ring, 6, 0);
	assert_used(&w, 6, 2, 0);
	/* More pieces than there is room for. */
	for (unsigned i = 0; i <= IOV_MAX_HERE; i++)
		describe_entry(&w, AT_TABLE + 16 * i, AT_DATA + i, 1, DESC_WRITE);
	offer_table(&w, AT_TABLE, 16 * (IOV_MAX_HERE + 1), 0);
	take(&w, 0);
	assert_int_equal(w.chain.fault, VRING_CHAIN_TOO_LONG);
	packed_offer_one(&w.packed, 1);
	take(&w, 1);
	assert_int_equal(w.chain.fault, VRING_CHAIN_SOUND);
	world_end(&w);
}

static bool called_after(struct world *w, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		packed_offer_one(&w->packed, 0);
		take(w, 0);
		vring_give(&w->ring, 0, 0);
	}
	return vring_publish(&w->ring);
}

static void ask_for_call_at(struct world *w, unsigned place, bool wrap)
{
	w->packed.mine->place = (uint16_t)(place | (wrap ? 0x8000 : 0));
	w->packed.mine->flags = EVENTS_AT;
}

static void calls_come_where_they_were_asked_for(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, EVENT_IDX);
	ask_for_call_at(&w, 2, true);
	assert_false(called_after(&w, 2)); /* 0, 1 */
	assert_false(vring_publish(&w.ring));
	assert_true(called_after(&w, 1));  /* 2 */
	assert_false(called_after(&w, 1)); /* 3 */
	/* Passed already. */
	ask_for_call_at(&w, 3, true);
	assert_false(called_after(&w, 1)); /* 4 */
	/* The next lap's. */
	ask_for_call_at(&w, 5, false);
	assert_false(called_after(&w, 4)); /* 5 .. 8 */
	ask_for_call_at(&w, 0, false);
	assert_false(called_after(&w, 3)); /* 9, 10, 11 */
	assert_true(called_after(&w, 1));  /* 0 of the next lap */
	ask_for_call_at(&w, 11, false);
	assert_true(called_after(&w, 12)); /* 1 .. 0 */
	/* The last lap's is in a batch that crosses the end. */
	assert_false(called_after(&w, 10)); /* 1 .. 10 */
	ask_for_call_at(&w, 11, true);
	assert_true(called_after(&w, 3)); /* 11, 0, 1 */
	ask_for_call_at(&w, 1, false);
	assert_false(called_after(&w, 1)); /* 2: just passed */
	/* Not in the ring: never, and no crash. */
	ask_for_call_at(&w, SIZE, false);
	assert_false(called_after(&w, 12));
	ask_for_call_at(&w, 0x7fff, true);
	assert_false(called_after(&w, 12));
	/* More than a lap between two looks: the driver may have asked in between. */
	assert_true(called_after(&w, 13));
	w.packed.mine->flags = EVENTS_DISABLED;
	assert_false(called_after(&w, 2));
	w.packed.mine->flags = EVENTS_ENABLED;
	assert_true(called_after(&w, 1));
	world_end(&w);
}

static void calls_obey_the_flag_without_event_index(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, 0);
	assert_true(called_after(&w, 1));
	w.packed.mine->flags = EVENTS_DISABLED;
	assert_false(called_after(&w, 1));
	/* Not negotiated. */
	ask_for_call_at(&w, 11, true);
	assert_true(called_after(&w, 1));
	world_end(&w);
}

static void kicks_are_asked_for_only_when_listening(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w, 0);
	vring_quiet(&w.ring);
	assert_int_equal(w.packed.device->flags, EVENTS_DISABLED);
	assert_false(vring_listen(&w.ring));
	assert_int_equal(w.packed.device->flags, EVENTS_ENABLED);
	/* It came before the driver could know: it has to be found without a kick. */
	packed_offer_one(&w.packed, 0);
	assert_true(vring_listen(&w.ring));
	world_end(&w);

	world_begin(&w, EVENT_IDX);
	assert_false(vring_listen(&w.ring));
	assert_int_equal(w.packed.device->flags, EVENTS_AT);
	assert_int_equal(w.packed.device->place, 0x8000);
	called_after(&w, SIZE + 3);
	vring_quiet(&w.ring);
	assert_int_equal(w.packed.device->place, 0x8000);
	assert_false(vring_listen(&w.ring));
	assert_int_equal(w.packed.device->place, 3);
	packed_offer_one(&w.packed, 0);
	assert_true(vring_listen(&w.ring));
	world_end(&w);
}

static uint32_t base(unsigned avail, bool avail_wrap, unsigned used, bool used_wrap)
{
	return avail | (avail_wrap ? 0x8000u : 0) | used << 16 | (used_wrap ? 0x80000000u : 0);
}

static void a_setup_that_cannot_be_is_refused(void **state)
{
	struct world w;
	const struct {
		int64_t size, desc, driver, device; /* added to what is right */
		uint32_t base;
	} cases[] = {
		{ .size = -SIZE },
		{ .size = VRING_SIZE_MAX + 1 - SIZE },
		{ .size = INT32_MIN },
		{ .desc = 8 },
		{ .driver = 2 },
		{ .device = 2 },
		{ .desc = -0x1000 },
		{ .driver = 1ll << 50 },
		{ .device = (int64_t)DRIVER_REGION - AT_USED },
		{ .base = base(SIZE, true, 0, true) },
		{ .base = base(0, true, SIZE, true) },
		{ .base = base(0x7fff, true, 0x7fff, true) },
		{ .base = base(3, true, 4, true) },
		{ .base = base(4, false, 3, true) },
	};

	(void)state;
	world_begin(&w, 0);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vring_setup setup = driver_setup(&w.driver, PACKED, PACKED_START);

		setup.size += (uint32_t)cases[i].size;
		setup.desc += (uint64_t)cases[i].desc;
		setup.avail += (uint64_t)cases[i].driver;
		setup.used += (uint64_t)cases[i].device;
		if (cases[i].base)
			setup.base = cases[i].base;
		assert_int_equal(vring_init(&w.ring, &setup, w.memory), -EINVAL);
		assert_non_null(w.ring.broken);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_BROKEN);
		assert_false(vring_publish(&w.ring));
		assert_int_equal(vring_base(&w.ring), setup.base);
	}
	world_end(&w);
}

static void a_ring_goes_on_where_it_was(void **state)
{
	static const struct {
		unsigned avail, used;
		bool avail_wrap, used_wrap;
		unsigned room; /* descriptors that may still be available */
	} cases[] = {
		{ 5, 5, true, true, SIZE },
		{ 5, 5, false, false, SIZE },
		{ SIZE - 1, 2, true, true, 3 },
		{ 2, SIZE - 1, false, true, SIZE - 3 },
		{ 7, 7, false, true, 0 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world w;
		struct vring_setup setup;

		world_begin(&w, 0);
		setup = driver_setup(&w.driver, PACKED,
			base(cases[i].avail, cases[i].avail_wrap, cases[i].used, cases[i].used_wrap));
		packed_init(&w.packed, &w.driver, setup.base);
		for (unsigned d = 0; d < SIZE; d++)
			w.packed.desc[d].flags = packed_flags(&w.packed, 0) ^ (PACKED_AVAIL | PACKED_USED);
		assert_int_equal(vring_init(&w.ring, &setup, w.memory), 0);
		assert_int_equal(vring_base(&w.ring), setup.base);
		for (uint16_t id = 0; id < cases[i].room; id++) {
			packed_offer_one(&w.packed, id);
			take(&w, id);
		}
		/* What was in flight elsewhere when the ring came here has its place, too. */
		packed_offer_one(&w.packed, SIZE - 1);
		assert_int_equal(vring_take(&w.ring, &w.chain), VRING_BROKEN);
		world_end(&w);
	}
}

static void a_ring_moves_with_its_memory(void **state)
{
	struct world w;
	struct guest_memory *other, *none;
	const char *why;

	(void)state;
	world_begin(&w, 0);
	called_after(&w, 1);
	other = driver_memory(&w.driver);
	assert_int_equal(vring_remap(&w.ring, other), 0);
	guest_memory_put(w.memory);
	w.memory = other;
	assert_int_equal(guest_memory_new(NULL, NULL, 0, &none, &why), 0);
	assert_int_equal(vring_remap(&w.ring, none), -EFAULT);
	guest_memory_put(none);
	/* It stays where it was. */
	called_after(&w, 1);
	assert_used(&w, 0, 1, 0);
	assert_used(&w, 0, 1, 0);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chains_come_in_order_and_whole),
		cmocka_unit_test(a_full_ring_comes_round),
		cmocka_unit_test(indirect_tables_stand_for_their_chains),
		cmocka_unit_test(what_breaks_the_rules_breaks_the_ring_alone),
		cmocka_unit_test(what_was_taken_can_be_given_back_to_a_broken_ring),
		cmocka_unit_test(a_bad_buffer_spoils_only_its_chain),
		cmocka_unit_test(calls_come_where_they_were_asked_for),
		cmocka_unit_test(calls_obey_the_flag_without_event_index),
		cmocka_unit_test(kicks_are_asked_for_only_when_listening),
		cmocka_unit_test(a_setup_that_cannot_be_is_refused),
		cmocka_unit_test(a_ring_goes_on_where_it_was),
		cmocka_unit_test(a_ring_moves_with_its_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
