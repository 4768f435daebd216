/* A guest that has turned its disk's write cache off has every write stable before it completes, also when its VMM connects
 * to another back-end, or another VMM takes the guest over: neither tells what the guest has set.  If this fails, a guest
 * that relies on its write-through disk loses writes in a power cut after a migration or a restart of the daemon. */
#include "vmm.h"

static struct vmm vmm;

/* Whether a write now is to be stable. */
static bool is_stable(void)
{
	bool stable;

	vmm.disk.hold = true;
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_OUT, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(vmm.disk.held_count, 1);
	stable = vmm.disk.held[0]->flags & BLOCK_FUA;
	disk_release(&vmm.disk);
	pump(&vmm);
	return stable;
}

static void read_config(void)
{
	struct vhost_user_config config = { .size = sizeof(struct virtio_blk_space) };

	vmm_send(&vmm, VHOST_USER_GET_CONFIG, &config, VHOST_USER_CONFIG_HEADER_SIZE + config.size, NULL, 0);
	assert_true(vmm_receive(&vmm, VHOST_USER_GET_CONFIG, &config, sizeof(config)) > 12);
}

static void write_config(uint8_t writeback)
{
	struct vhost_user_config config = {
		.offset = offsetof(struct virtio_blk_space, writeback), .size = 1, .bytes = { writeback }
	};

	assert_int_equal(
		vmm_set(&vmm, VHOST_USER_SET_CONFIG, &config, VHOST_USER_CONFIG_HEADER_SIZE + 1, NULL, 0), 0);
}

/* A VMM reads the configuration first, or, if it did so before, not at all; its ring is where the guest has got to. */
static void boot(bool reads, uint16_t base)
{
	vmm_connect(&vmm);
	if (reads)
		read_config();
	vmm_negotiate(&vmm, VMM_FEATURES);
	assert_int_equal(vmm_set_memory(&vmm), 0);
	vmm.driver[0].avail[1] = *driver_used_idx(&vmm.driver[0]) = base;
	vmm_describe_ring(&vmm, 0, base);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
}

static void reboot(bool reads, uint16_t base)
{
	vmm_disconnect(&vmm);
	pump(&vmm);
	boot(reads, base);
}

static void a_driver_that_begins_here_knows(void **state)
{
	struct vhost_user_vring_state ring = { 0, 0 };

	(void)state;
	vmm_begin(&vmm);
	boot(true, 0);
	assert_false(is_stable());
	write_config(0);
	assert_true(is_stable());
	write_config(1);
	assert_false(is_stable());
	/* It pauses: the ring is not at its beginning, but it was here before. */
	vmm_send(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring), NULL, 0);
	assert_int_equal(vmm_receive(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring)), sizeof(ring));
	assert_int_equal(ring.num, 3);
	vmm_describe_ring(&vmm, 0, ring.num);
	assert_false(is_stable());
	vmm_end(&vmm);
}

static void a_driver_from_elsewhere_may_not(void **state)
{
	(void)state;
	vmm_begin(&vmm);
	/* As QEMU does it at the other end of a migration. */
	boot(true, 5);
	assert_true(is_stable());
	/* It looks for a new size. */
	read_config();
	assert_true(is_stable());
	write_config(1);
	assert_false(is_stable());
	/* As it does when its back-end was restarted. */
	reboot(false, 5);
	read_config();
	assert_true(is_stable());
	reboot(false, 0);
	assert_true(is_stable());
	vmm_end(&vmm);
}

/* 65536 requests later. */
static void a_ring_that_came_round_is_not_new(void **state)
{
	(void)state;
	vmm_begin(&vmm);
	((uint32_t *)(vmm.driver[0].used + 4))[2 * VMM_RING - 1] = 513;
	boot(true, 0);
	assert_true(is_stable());
	vmm_end(&vmm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_driver_that_begins_here_knows),
		cmocka_unit_test(a_driver_from_elsewhere_may_not),
		cmocka_unit_test(a_ring_that_came_round_is_not_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
