/* A back-end serves one VMM after the other; rings start, pause, stop and move as the specification says, and nothing a
 * VMM does loses a request in flight or lets an old write land after a new VMM has begun.  If this fails, a reboot, a
 * live memory change or a VMM's crash costs the guest its data or its disk. */
#include "vmm.h"

static struct vmm vmm;

static void a_request_goes_there_and_back(void **state)
{
	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	for (unsigned q = 0; q < VMM_QUEUES; q++) {
		memset(guest_data(&vmm, q, 0), 0x30 + (int)q, 512);
		guest_ask(&vmm, q, 0, VIRTIO_BLK_T_OUT, q);
		guest_ask(&vmm, q, 1, VIRTIO_BLK_T_IN, q);
		guest_kick(&vmm, q);
		signals(vmm.call[q]);
		pump(&vmm);
		assert_int_equal(*driver_used_idx(&vmm.driver[q]), 2);
		assert_int_equal(*guest_status(&vmm, q, 0), VIRTIO_BLK_S_OK);
		assert_int_equal(*guest_status(&vmm, q, 1), VIRTIO_BLK_S_OK);
		assert_memory_equal(guest_data(&vmm, q, 1), guest_data(&vmm, q, 0), 512);
		assert_int_equal(driver_used_at(&vmm.driver[q], 1).len, 513);
		assert_int_equal(signals(vmm.err[q]), 0);
	}
	assert_int_equal(vmm.disk.bytes[512], 0x31);
	vmm_end(&vmm);
}

static void a_batch_is_published_by_one_call(void **state)
{
	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	guest_kick(&vmm, 0);
	pump(&vmm);
	signals(vmm.call[0]);
	for (unsigned slot = 0; slot < 5; slot++)
		guest_ask(&vmm, 0, slot, VIRTIO_BLK_T_IN, slot);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 5);
	assert_int_equal(signals(vmm.call[0]), 1);
	/* used_event is 0: the driver asked for no further call. */
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 6);
	assert_int_equal(signals(vmm.call[0]), 0);
	vmm_end(&vmm);
}

static void a_ring_starts_at_its_kick_and_works_when_enabled(void **state)
{
	(void)state;
	vmm_begin(&vmm);
	vmm_connect(&vmm);
	vmm_negotiate(&vmm, VMM_FEATURES);
	assert_int_equal(vmm_set_memory(&vmm), 0);
	vmm_describe_ring(&vmm, 0, 0);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 0);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 0);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 1);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
	guest_ask(&vmm, 0, 1, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 1);
	vmm_end(&vmm);
}

static void a_kick_before_the_addresses_is_kept(void **state)
{
	struct vhost_user_vring_addr addr = {
		.desc = DRIVER_USER + AT_DESC, .used = DRIVER_USER + AT_USED, .avail = DRIVER_USER + AT_AVAIL
	};

	(void)state;
	vmm_begin(&vmm);
	vmm_connect(&vmm);
	/* Without protocol features a ring is enabled as it starts. */
	vmm_negotiate(&vmm, VMM_FEATURES & ~VHOST_USER_F_PROTOCOL_FEATURES);
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	vmm_set_fd(&vmm, VHOST_USER_SET_VRING_KICK, 0, vmm.kick[0]);
	vmm_set(&vmm, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
	vmm_set_state(&vmm, VHOST_USER_SET_VRING_NUM, 0, VMM_RING);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 0);
	vmm_set_memory(&vmm);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 1);
	vmm_end(&vmm);
}

static void a_stop_waits_for_what_is_in_flight(void **state)
{
	struct vhost_user_vring_state ring = { 0, 0 };
	uint64_t features;

	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	vmm.disk.hold = true;
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_OUT, 0);
	guest_ask(&vmm, 0, 1, VIRTIO_BLK_T_OUT, 1);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(vmm.disk.held_count, 2);
	vmm_send(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring), NULL, 0);
	vmm_send(&vmm, VHOST_USER_GET_FEATURES, NULL, 0, NULL, 0);
	/* Offered too late. */
	pump(&vmm);
	guest_ask(&vmm, 0, 2, VIRTIO_BLK_T_OUT, 2);
	guest_kick(&vmm, 0);
	assert_int_equal(vmm_receive(&vmm, 0, NULL, 0), NO_REPLY);
	disk_release(&vmm.disk);
	assert_int_equal(vmm_receive(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring)), sizeof(ring));
	assert_int_equal(ring.index, 0);
	assert_int_equal(ring.num, 2);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 2);
	assert_int_equal(vmm_receive(&vmm, VHOST_USER_GET_FEATURES, &features, sizeof(features)), 8);
	/* It goes on where it was, once it has a kick descriptor again. */
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 2);
	vmm_describe_ring(&vmm, 0, 2);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 3);
	vmm_end(&vmm);
}

static void a_ring_that_was_stopped_is_not_started_by_an_old_kick(void **state)
{
	struct vhost_user_vring_state ring = { 1, 0 };

	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	vmm_send(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring), NULL, 0);
	assert_int_equal(vmm_receive(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring)), sizeof(ring));
	assert_int_equal(ring.num, 0);
	guest_ask(&vmm, 1, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 1);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[1]), 0);
	vmm_end(&vmm);
}

static void the_next_vmm_waits_for_the_last_ones_writes(void **state)
{
	uint64_t features;

	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	vmm.disk.hold = true;
	guest_ask(&vmm, 1, 0, VIRTIO_BLK_T_OUT, 0);
	guest_kick(&vmm, 1);
	pump(&vmm);
	assert_int_equal(vmm.disk.held_count, 1);
	vmm_disconnect(&vmm);
	pump(&vmm);
	vmm_connect(&vmm);
	vmm_send(&vmm, VHOST_USER_GET_FEATURES, NULL, 0, NULL, 0);
	assert_int_equal(vmm_receive(&vmm, VHOST_USER_GET_FEATURES, &features, sizeof(features)), NO_REPLY);
	disk_release(&vmm.disk);
	assert_int_equal(vmm_receive(&vmm, VHOST_USER_GET_FEATURES, &features, sizeof(features)), 8);
	vmm_disconnect(&vmm);
	pump(&vmm);
	/* And everything is as new: rings are described again from nothing. */
	vmm_boot(&vmm);
	guest_ask(&vmm, 1, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 1);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[1]), 2);
	vmm_end(&vmm);
}

static void memory_may_change_below_requests_in_flight(void **state)
{
	struct vhost_user_mem_table nothing = { .region_count = 0 };
	struct vhost_user_single_region region = { 0, vmm_region(0, 0) };

	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	vmm.disk.bytes[0] = 0x77;
	vmm.disk.hold = true;
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	/* All of it is taken away, the ring too; then the ring's part comes back, as VMMs do it that resize a region. */
	assert_int_equal(vmm_set(&vmm, VHOST_USER_SET_MEM_TABLE, &nothing, 8, NULL, 0), 0);
	guest_ask(&vmm, 0, 1, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	disk_release(&vmm.disk);
	pump(&vmm);
	assert_int_equal(*guest_status(&vmm, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(*guest_data(&vmm, 0, 0), 0x77);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 1);
	assert_int_equal(
		vmm_set(&vmm, VHOST_USER_ADD_MEM_REG, &region, sizeof(region), &vmm.driver[0].fd, 1), 0);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 2);
	/* Twice is an overlap; a descriptor with the removal is closed and ignored. */
	assert_int_equal(
		vmm_set(&vmm, VHOST_USER_ADD_MEM_REG, &region, sizeof(region), &vmm.driver[0].fd, 1), 1);
	assert_int_equal(
		vmm_set(&vmm, VHOST_USER_REM_MEM_REG, &region, sizeof(region), &vmm.driver[0].fd, 1), 0);
	assert_int_equal(vmm_set(&vmm, VHOST_USER_REM_MEM_REG, &region, sizeof(region), NULL, 0), 1);
	vmm_end(&vmm);
}

static void a_new_call_descriptor_is_signalled_once(void **state)
{
	uint64_t none = VHOST_USER_VRING_NO_FD;
	int other = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(signals(vmm.call[0]), 1);
	assert_int_equal(vmm_set_fd(&vmm, VHOST_USER_SET_VRING_CALL, 0, other), 0);
	assert_int_equal(signals(other), 1);
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(signals(other), 1);
	assert_int_equal(signals(vmm.call[0]), 0);
	/* None: the driver polls. */
	assert_int_equal(vmm_set(&vmm, VHOST_USER_SET_VRING_CALL, &none, sizeof(none), NULL, 0), 0);
	*driver_used_event(&vmm.driver[0]) = 1;
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 2);
	assert_int_equal(signals(other), 0);
	close(other);
	vmm_end(&vmm);
}

/* eventfds of VMMs that read them without polling: full, a write to one waits until somebody reads. */
static void full_descriptors_block_nobody(void **state)
{
	const uint64_t full = UINT64_MAX - 1;
	int call = eventfd(0, EFD_CLOEXEC), err = eventfd(0, EFD_CLOEXEC);

	(void)state;
	assert_int_equal(write(call, &full, sizeof(full)), sizeof(full));
	assert_int_equal(write(err, &full, sizeof(full)), sizeof(full));
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	assert_int_equal(vmm_set_fd(&vmm, VHOST_USER_SET_VRING_CALL, 0, call), 0);
	assert_int_equal(vmm_set_fd(&vmm, VHOST_USER_SET_VRING_ERR, 0, err), 0);
	/* A test that fails here is ended by this. */
	alarm(20);
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 1);
	assert_int_equal(signals(call), full);
	*driver_used_event(&vmm.driver[0]) = 1;
	guest_ask(&vmm, 0, 1, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(signals(call), 1);
	driver_offer(&vmm.driver[0], VMM_RING);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(signals(err), full);
	alarm(0);
	vmm_end(&vmm);
	close(call);
	close(err);
}

static void a_new_kick_descriptor_misses_no_request(void **state)
{
	int other = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	guest_kick(&vmm, 0);
	pump(&vmm);
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	assert_int_equal(vmm_set_fd(&vmm, VHOST_USER_SET_VRING_KICK, 0, other), 0);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 1);
	guest_ask(&vmm, 0, 1, VIRTIO_BLK_T_IN, 0);
	assert_int_equal(write(other, &(uint64_t){ 1 }, 8), 8);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 2);
	close(other);
	vmm_end(&vmm);
}

static void a_broken_ring_stops_alone(void **state)
{
	struct vhost_user_vring_state ring = { 0, 0 };

	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	vmm.disk.hold = true;
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	driver_offer(&vmm.driver[0], VMM_RING);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(signals(vmm.err[0]), 1);
	disk_release(&vmm.disk);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 1);
	guest_ask(&vmm, 1, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 1);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[1]), 1);
	assert_int_equal(signals(vmm.err[0]) + signals(vmm.err[1]), 0);
	/* A reset of the guest makes it good again. */
	vmm_send(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring), NULL, 0);
	assert_int_equal(vmm_receive(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring)), sizeof(ring));
	vmm.driver[0].avail[1] = 1;
	vmm_describe_ring(&vmm, 0, 1);
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 2);
	vmm_end(&vmm);
}

static void the_end_waits_for_what_is_in_flight(void **state)
{
	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	vmm.disk.hold = true;
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_OUT, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	vhost_user_stop(vmm.vhost, vmm_on_stopped, &vmm);
	pump(&vmm);
	assert_false(vmm.stopped);
	disk_release(&vmm.disk);
	pump(&vmm);
	assert_true(vmm.stopped);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 1);
	/* What is left of the world. */
	vmm_disconnect(&vmm);
	for (unsigned q = 0; q < VMM_QUEUES; q++)
		loop_fini(&vmm.queue_loop[q]);
	loop_fini(&vmm.main);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_goes_there_and_back),
		cmocka_unit_test(a_batch_is_published_by_one_call),
		cmocka_unit_test(a_ring_starts_at_its_kick_and_works_when_enabled),
		cmocka_unit_test(a_kick_before_the_addresses_is_kept),
		cmocka_unit_test(a_stop_waits_for_what_is_in_flight),
		cmocka_unit_test(a_ring_that_was_stopped_is_not_started_by_an_old_kick),
		cmocka_unit_test(the_next_vmm_waits_for_the_last_ones_writes),
		cmocka_unit_test(memory_may_change_below_requests_in_flight),
		cmocka_unit_test(a_new_call_descriptor_is_signalled_once),
		cmocka_unit_test(full_descriptors_block_nobody),
		cmocka_unit_test(a_new_kick_descriptor_misses_no_request),
		cmocka_unit_test(a_broken_ring_stops_alone),
		cmocka_unit_test(the_end_waits_for_what_is_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
