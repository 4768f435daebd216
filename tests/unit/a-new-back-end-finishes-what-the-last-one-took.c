/* A back-end that gets the record of its predecessor asks the disk again for what was in flight, in the order in which the
 * guest asked, without being kicked, and goes on with what came since.  If this fails, a guest's requests hang for ever
 * after a crash of the daemon, or an old write lands after a newer one. */
#include "two_back_ends.h"

static void what_was_in_flight_is_asked_again_in_order(void **state)
{
	(void)state;
	vmm_begin(&first);
	boot(&first, false);
	/* Two are done before the crash, and out of order; one of them is the first. */
	for (unsigned slot = 0; slot < 5; slot++)
		guest_ask(&first, 0, slot, VIRTIO_BLK_T_OUT, slot);
	first.disk.hold = true;
	guest_kick(&first, 0);
	pump(&first);
	assert_int_equal(first.disk.held_count, 5);
	first.disk.held[3]->done(first.disk.held[3], 0);
	first.disk.held[0]->done(first.disk.held[0], 0);
	pump(&first);
	assert_int_equal(*driver_used_idx(&first.driver[0]), 2);
	first.disk.held[0] = first.disk.held[4];
	first.disk.held_count = 3;
	/* The guest goes on meanwhile. */
	guest_ask(&first, 0, 3, VIRTIO_BLK_T_OUT, 30);
	begin_second();
	second.disk.hold = true;
	boot(&second, true);
	pump(&second);
	assert_int_equal(second.disk.held_count, 4);
	assert_int_equal(second.disk.held[0]->offset, 1 * 512);
	assert_int_equal(second.disk.held[1]->offset, 2 * 512);
	assert_int_equal(second.disk.held[2]->offset, 4 * 512);
	assert_int_equal(second.disk.held[3]->offset, 30 * 512);
	disk_release(&second.disk);
	pump(&second);
	assert_int_equal(*driver_used_idx(&second.driver[0]), 6);
	/* The other ring had never started, and waits for its kick. */
	guest_ask(&second, 1, 0, VIRTIO_BLK_T_IN, 0);
	pump(&second);
	assert_int_equal(*driver_used_idx(&second.driver[1]), 0);
	guest_kick(&second, 1);
	pump(&second);
	assert_int_equal(*driver_used_idx(&second.driver[1]), 1);
	end_both();
}

static void a_stop_waits_for_what_the_last_one_took(void **state)
{
	struct vhost_user_vring_state ring = { 0, 0 };

	(void)state;
	vmm_begin(&first);
	boot(&first, false);
	first.disk.hold = true;
	for (unsigned slot = 0; slot < 3; slot++)
		guest_ask(&first, 0, slot, VIRTIO_BLK_T_OUT, slot);
	guest_kick(&first, 0);
	pump(&first);
	begin_second();
	second.disk.hold = true;
	boot(&second, true);
	vmm_send(&second, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring), NULL, 0);
	assert_int_equal(vmm_receive(&second, 0, NULL, 0), NO_REPLY);
	assert_int_equal(second.disk.held_count, 3);
	disk_release(&second.disk);
	assert_int_equal(vmm_receive(&second, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring)), sizeof(ring));
	assert_int_equal(ring.num, 3);
	assert_int_equal(*driver_used_idx(&second.driver[0]), 3);
	end_both();
}

static void a_record_that_cannot_be_is_refused(void **state)
{
	const struct {
		uint64_t size, offset; /* added to what is right */
	} cases[] = { { 64, 0 }, { UINT64_MAX, 0 }, { 0, 64 }, { -64ull, 8 }, { 0, UINT64_MAX } };

	(void)state;
	vmm_begin(&first);
	vmm_connect(&first);
	vmm_negotiate(&first, VMM_FEATURES);
	get_record(&first);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vhost_user_inflight bad = record;

		bad.mmap_size = cases[i].size == UINT64_MAX ? 0 : bad.mmap_size + cases[i].size;
		bad.mmap_offset += cases[i].offset;
		assert_int_equal(
			vmm_set(&first, VHOST_USER_SET_INFLIGHT_FD, &bad, sizeof(bad), &record_fd, 1), 1);
	}
	assert_int_equal(
		vmm_set(&first, VHOST_USER_SET_INFLIGHT_FD, &record, sizeof(record), &first.kick[0], 1), 1);
	assert_int_equal(set_record(&first), 0);
	/* More rings than there are: there is no other answer to that. */
	record.num_queues = VMM_QUEUES + 1;
	vmm_send(&first, VHOST_USER_GET_INFLIGHT_FD, &record, sizeof(record), NULL, 0);
	assert_int_equal(vmm_receive(&first, 0, NULL, 0), CLOSED);
	close(record_fd);
	vmm_end(&first);
}

/* A record that fits no ring of this size, or is not one: that ring stops, and says so to the VMM. */
static void a_ring_with_a_bad_record_stops_alone(void **state)
{
	static const struct {
		unsigned at; /* in the record of ring 0 */
		uint16_t value;
	} cases[] = { { 8, 2 }, { 10, VMM_RING * 2 }, { 14, 1000 } };

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint16_t version = 1, size = VMM_RING;

		vmm_begin(&first);
		vmm_connect(&first);
		vmm_negotiate(&first, VMM_FEATURES);
		get_record(&first);
		assert_int_equal(pwrite(record_fd, &version, 2, 8), 2);
		assert_int_equal(pwrite(record_fd, &size, 2, 10), 2);
		assert_int_equal(pwrite(record_fd, &cases[i].value, 2, cases[i].at), 2);
		vmm_disconnect(&first);
		pump(&first);
		boot(&first, true);
		pump(&first);
		assert_int_equal(signals(first.err[0]), 1);
		guest_ask(&first, 1, 0, VIRTIO_BLK_T_IN, 0);
		guest_kick(&first, 1);
		pump(&first);
		assert_int_equal(*driver_used_idx(&first.driver[1]), 1);
		close(record_fd);
		vmm_end(&first);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_in_flight_is_asked_again_in_order),
		cmocka_unit_test(a_stop_waits_for_what_the_last_one_took),
		cmocka_unit_test(a_record_that_cannot_be_is_refused),
		cmocka_unit_test(a_ring_with_a_bad_record_stops_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
