/* A VMM can reset the device, by a message of its own or by the driver's status, and learns from the status what the
 * device thinks of the driver: features it cannot work with, a ring that was broken.  If this fails, a guest whose driver
 * gave up a queue cannot have its disk back without a new process, or a reset undoes the writes in flight. */
#include "vmm.h"

static struct vmm vmm;

enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4 };

static void serve_one(unsigned q, unsigned slot, uint16_t used_after)
{
	guest_ask(&vmm, q, slot, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, q);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[q]), used_after);
}

/* What the VMM tells again after a reset: neither memory nor whom to call. */
static void describe_again(unsigned q)
{
	struct vhost_user_vring_addr addr = {
		.index = q,
		.desc = DRIVER_USER + q * (1ull << 30) + AT_DESC,
		.used = DRIVER_USER + q * (1ull << 30) + AT_USED,
		.avail = DRIVER_USER + q * (1ull << 30) + AT_AVAIL,
	};

	vmm.driver[q].avail[1] = *driver_used_idx(&vmm.driver[q]) = 0;
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_FEATURES, VMM_FEATURES), 0);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_NUM, q, VMM_RING), 0);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_BASE, q, 0), 0);
	assert_int_equal(vmm_set(&vmm, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), 0);
	assert_int_equal(vmm_set_fd(&vmm, VHOST_USER_SET_VRING_KICK, q, vmm.kick[q]), 0);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, q, 1), 0);
}

static void send_reset(bool by_status)
{
	const uint64_t zero = 0;

	if (by_status)
		vmm_send(&vmm, VHOST_USER_SET_STATUS, &zero, sizeof(zero), NULL, 0);
	else
		vmm_send(&vmm, VHOST_USER_RESET_DEVICE, NULL, 0, NULL, 0);
}

static uint32_t base_of(unsigned q)
{
	struct vhost_user_vring_state ring = { .index = q };

	vmm_send(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring), NULL, 0);
	assert_int_equal(vmm_receive(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring)), sizeof(ring));
	return ring.num;
}

static void a_reset_waits_for_what_is_in_flight(void **state)
{
	(void)state;
	for (unsigned by_status = 0; by_status < 2; by_status++) {
		uint32_t request = by_status ? VHOST_USER_SET_STATUS : VHOST_USER_RESET_DEVICE;
		uint64_t ack = 1;

		vmm_begin(&vmm);
		vmm_boot(&vmm);
		vmm.disk.hold = true;
		for (unsigned q = 0; q < VMM_QUEUES; q++) {
			guest_ask(&vmm, q, 0, VIRTIO_BLK_T_OUT, q);
			guest_kick(&vmm, q);
		}
		pump(&vmm);
		assert_int_equal(vmm.disk.held_count, 2);
		send_reset(by_status);
		assert_int_equal(vmm_receive(&vmm, request, &ack, sizeof(ack)), NO_REPLY);
		disk_release(&vmm.disk);
		assert_int_equal(vmm_receive(&vmm, request, &ack, sizeof(ack)), sizeof(ack));
		assert_int_equal(ack, 0);
		for (unsigned q = 0; q < VMM_QUEUES; q++) {
			assert_int_equal(*driver_used_idx(&vmm.driver[q]), 1);
			/* QEMU 7.2 resets first and asks then, where a guest moves away. */
			assert_int_equal(base_of(q), 1);
			/* Nobody listens to it now, and a kick starts nothing that is not described. */
			serve_one(q, 1, 1);
			assert_int_equal(vmm_set_fd(&vmm, VHOST_USER_SET_VRING_KICK, q, vmm.kick[q]), 0);
			serve_one(q, 1, 1);
			signals(vmm.call[q]);
			describe_again(q);
			serve_one(q, 1, 1);
			assert_true(signals(vmm.call[q]) > 0);
		}
		vmm_end(&vmm);
	}
}

static void the_status_is_kept_and_reset(void **state)
{
	const uint64_t ok = ACKNOWLEDGE | DRIVER | VIRTIO_STATUS_FEATURES_OK;

	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	assert_int_equal(vmm_get(&vmm, VHOST_USER_GET_STATUS), 0);
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_STATUS, ok), 0);
	assert_int_equal(vmm_get(&vmm, VHOST_USER_GET_STATUS), ok);
	/* A driver cannot claim what is the device's to say. */
	assert_int_equal(
		vmm_set_u64(&vmm, VHOST_USER_SET_STATUS, ok | DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET), 0);
	assert_int_equal(vmm_get(&vmm, VHOST_USER_GET_STATUS), ok | DRIVER_OK);
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_STATUS, 256), 1);
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_STATUS, 0), 0);
	assert_int_equal(vmm_get(&vmm, VHOST_USER_GET_STATUS), 0);
	/* Packed rings came with version 1. */
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_FEATURES, VIRTIO_F_RING_PACKED), 0);
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_STATUS, ok), 0);
	assert_int_equal(vmm_get(&vmm, VHOST_USER_GET_STATUS), ACKNOWLEDGE | DRIVER);
	/* The next VMM's device is a new one. */
	vmm_disconnect(&vmm);
	pump(&vmm);
	vmm_boot(&vmm);
	assert_int_equal(vmm_get(&vmm, VHOST_USER_GET_STATUS), 0);
	vmm_end(&vmm);
}

static void a_broken_ring_asks_for_a_reset(void **state)
{
	const uint64_t protocol = VHOST_USER_PROTOCOL_F_REPLY_ACK | VHOST_USER_PROTOCOL_F_CONFIG |
				  VHOST_USER_PROTOCOL_F_STATUS | VHOST_USER_PROTOCOL_F_BACKEND_REQ;
	struct vhost_user_header told;
	int channel[2];

	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, channel), 0);
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_PROTOCOL_FEATURES, protocol), 0);
	assert_int_equal(vmm_set(&vmm, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &channel[1], 1), 0);
	close(channel[1]);
	serve_one(0, 0, 1);
	serve_one(1, 0, 1);
	while (recv(channel[0], &told, sizeof(told), 0) > 0)
		;
	driver_offer(&vmm.driver[0], VMM_RING);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(recv(channel[0], &told, sizeof(told), 0), sizeof(told));
	assert_int_equal(told.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	assert_int_equal(vmm_get(&vmm, VHOST_USER_GET_STATUS), VIRTIO_STATUS_NEEDS_RESET);
	serve_one(1, 0, 2);
	/* Once. */
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(recv(channel[0], &told, sizeof(told), 0), -1);
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_STATUS, 0), 0);
	assert_int_equal(vmm_get(&vmm, VHOST_USER_GET_STATUS), 0);
	describe_again(0);
	serve_one(0, 0, 1);
	/* And every time. */
	driver_offer(&vmm.driver[0], VMM_RING);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(vmm_get(&vmm, VHOST_USER_GET_STATUS), VIRTIO_STATUS_NEEDS_RESET);
	close(channel[0]);
	vmm_end(&vmm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reset_waits_for_what_is_in_flight),
		cmocka_unit_test(the_status_is_kept_and_reset),
		cmocka_unit_test(a_broken_ring_asks_for_a_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
