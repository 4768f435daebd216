/* A driver that has negotiated VIRTIO_F_IN_ORDER gets its buffers back in the order in which it made them available, split
 * and packed, whatever order the disk ends them in.  If this fails, such a driver takes one request's answer for
 * another's. */
#include "packed_driver.h"
#include "vmm.h"

enum { SIZE = 16, CHAINS = 5 };

struct world {
	struct driver driver;
	struct packed_driver packed;
	struct guest_memory *memory;
	struct vring ring;
	struct iovec iov[4];
	struct vring_chain chain;
	bool is_packed;
};

static struct world w;
static struct vmm vmm;

static void world_begin(bool is_packed)
{
	struct vring_setup setup;

	memset(&w, 0, sizeof(w));
	driver_init(&w.driver, SIZE);
	packed_init(&w.packed, &w.driver, PACKED_START);
	w.memory = driver_memory(&w.driver);
	w.is_packed = is_packed;
	setup = driver_setup(&w.driver, VIRTIO_F_IN_ORDER | (is_packed ? VIRTIO_F_RING_PACKED : 0),
		is_packed ? PACKED_START : 0);
	assert_int_equal(vring_init(&w.ring, &setup, w.memory), 0);
	w.chain.iov = w.iov;
	w.chain.iov_max = 4;
}

static void world_end(void)
{
	guest_memory_put(w.memory);
	driver_fini(&w.driver);
}

static void offer(uint16_t id)
{
	driver_describe(&w.driver.desc[id], AT_DATA, 16, 0, 0);
	driver_offer(&w.driver, id);
}

static void offer_and_take(uint16_t id)
{
	if (w.is_packed)
		packed_offer_one(&w.packed, id);
	else
		offer(id);
	assert_int_equal(vring_take(&w.ring, &w.chain), VRING_TAKEN);
	assert_int_equal(w.chain.id, id);
}

/* Gives @id back; then the driver sees these, in this order, the first of them with @length. */
static void give(uint16_t id, uint32_t length, unsigned count, const uint16_t *ids)
{
	static uint16_t seen;

	if (*driver_used_idx(&w.driver) == 0 && !w.is_packed)
		seen = 0;
	vring_give(&w.ring, id, length);
	assert_int_equal(vring_publish(&w.ring), count > 0);
	for (unsigned i = 0; i < count; i++) {
		if (w.is_packed) {
			const struct packed_desc *desc = packed_used(&w.packed, 1);

			assert_non_null(desc);
			assert_int_equal(desc->id, ids[i]);
			assert_int_equal(desc->len, 100 + ids[i]);
		} else {
			assert_true(*driver_used_idx(&w.driver) > seen);
			assert_int_equal(driver_used_at(&w.driver, seen).id, ids[i]);
			assert_int_equal(driver_used_at(&w.driver, seen++).len, 100 + ids[i]);
		}
	}
	if (w.is_packed)
		assert_null(packed_used(&w.packed, 1));
	else
		assert_int_equal(*driver_used_idx(&w.driver), seen);
}

static void what_is_done_early_waits_for_its_turn(void **state)
{
	(void)state;
	for (unsigned is_packed = 0; is_packed < 2; is_packed++) {
		world_begin(is_packed);
		for (uint16_t id = 0; id < CHAINS; id++)
			offer_and_take(id);
		give(2, 102, 0, NULL);
		give(4, 104, 0, NULL);
		give(0, 100, 1, (uint16_t[]){ 0 });
		give(1, 101, 2, (uint16_t[]){ 1, 2 });
		/* More come meanwhile, under ids that are free again. */
		offer_and_take(1);
		offer_and_take(0);
		give(0, 100, 0, NULL);
		give(3, 103, 2, (uint16_t[]){ 3, 4 });
		give(1, 101, 2, (uint16_t[]){ 1, 0 });
		world_end();
	}
}

static void it_goes_on_for_many_laps(void **state)
{
	(void)state;
	for (unsigned is_packed = 0; is_packed < 2; is_packed++) {
		unsigned count = 3 * VRING_SIZE_MAX / SIZE;

		world_begin(is_packed);
		for (unsigned lap = 0; lap < count; lap++) {
			const struct packed_desc *desc = NULL;

			for (uint16_t id = 0; id < SIZE; id++)
				offer_and_take(id);
			for (uint16_t id = SIZE; id-- > 0;)
				vring_give(&w.ring, id, 1);
			vring_publish(&w.ring);
			for (uint16_t id = 0; id < SIZE && is_packed; id++) {
				desc = packed_used(&w.packed, 1);
				assert_non_null(desc);
				assert_int_equal(desc->id, id);
			}
		}
		if (!is_packed)
			assert_int_equal(*driver_used_idx(&w.driver), (uint16_t)(count * SIZE));
		world_end();
	}
}

/* It could not have two turns. */
static void a_chain_that_is_available_twice_breaks_the_ring(void **state)
{
	(void)state;
	world_begin(false);
	offer_and_take(3);
	offer(3);
	assert_int_equal(vring_take(&w.ring, &w.chain), VRING_BROKEN);
	assert_int_equal(vring_take(&w.ring, &w.chain), VRING_BROKEN);
	vring_give(&w.ring, 3, 1);
	assert_true(vring_publish(&w.ring));
	assert_int_equal(*driver_used_idx(&w.driver), 1);
	world_end();
}

static void a_vmm_can_have_it(void **state)
{
	(void)state;
	vmm_begin(&vmm);
	vmm_connect(&vmm);
	assert_true(vmm_get(&vmm, VHOST_USER_GET_FEATURES) & VIRTIO_F_IN_ORDER);
	vmm_negotiate(&vmm, VMM_FEATURES | VIRTIO_F_IN_ORDER);
	assert_int_equal(vmm_set_memory(&vmm), 0);
	vmm_describe_ring(&vmm, 0, 0);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	vmm.disk.hold = true;
	for (unsigned slot = 0; slot < CHAINS; slot++)
		guest_ask(&vmm, 0, slot, VIRTIO_BLK_T_IN, slot);
	guest_kick(&vmm, 0);
	pump(&vmm);
	/* The second one ends first; then all, last come, first served. */
	vmm.disk.held[1]->done(vmm.disk.held[1], 0);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 0);
	memmove(&vmm.disk.held[1], &vmm.disk.held[2], (CHAINS - 2) * sizeof(vmm.disk.held[0]));
	vmm.disk.held_count--;
	disk_release(&vmm.disk);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), CHAINS);
	for (uint16_t i = 0; i < CHAINS; i++)
		assert_int_equal(driver_used_at(&vmm.driver[0], i).id, 3u * i);
	vmm_end(&vmm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_done_early_waits_for_its_turn),
		cmocka_unit_test(it_goes_on_for_many_laps),
		cmocka_unit_test(a_chain_that_is_available_twice_breaks_the_ring),
		cmocka_unit_test(a_vmm_can_have_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
