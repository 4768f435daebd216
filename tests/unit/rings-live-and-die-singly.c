/* Rings of every size start, stop and go on one by one, as often as their VMM likes: by GET_VRING_BASE, by ENABLE, by a
 * driver that resets one of them.  If this fails, a guest that changes its number of queues, or resets one, hangs or loses
 * requests of the others. */
#include "packed_driver.h"
#include "vmm.h"

static struct vmm vmm;

static void describe(unsigned q, uint32_t size, uint32_t base)
{
	struct vhost_user_vring_addr addr = {
		.index = q,
		.desc = DRIVER_USER + q * (1ull << 30) + AT_DESC,
		.used = DRIVER_USER + q * (1ull << 30) + AT_USED,
		.avail = DRIVER_USER + q * (1ull << 30) + AT_AVAIL,
	};

	vmm.driver[q].size = (uint16_t)size;
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_NUM, q, size), 0);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_BASE, q, base), 0);
	assert_int_equal(vmm_set(&vmm, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), 0);
	assert_int_equal(vmm_set_fd(&vmm, VHOST_USER_SET_VRING_KICK, q, vmm.kick[q]), 0);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, q, 1), 0);
}

static uint32_t stop(unsigned q)
{
	struct vhost_user_vring_state ring = { q, 0 };

	vmm_send(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring), NULL, 0);
	assert_int_equal(vmm_receive(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring)), sizeof(ring));
	assert_int_equal(ring.index, q);
	return ring.num;
}

static void begin(uint64_t features)
{
	vmm_begin(&vmm);
	vmm_connect(&vmm);
	vmm_negotiate(&vmm, VMM_FEATURES | features);
	assert_int_equal(vmm_set_memory(&vmm), 0);
}

/* Offers a request of the driver's and lets it be served. */
static void serve(unsigned q)
{
	uint16_t used = *driver_used_idx(&vmm.driver[q]);

	guest_ask(&vmm, q, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, q);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[q]), (uint16_t)(used + 1));
	assert_int_equal(*guest_status(&vmm, q, 0), VIRTIO_BLK_S_OK);
}

/* The smallest ring for a chain of three descriptors has four. */
static void split_rings_have_any_power_of_two(void **state)
{
	(void)state;
	begin(0);
	for (uint32_t size = 4; size <= VRING_SIZE_MAX; size *= 2) {
		vmm.driver[0].avail[1] = *driver_used_idx(&vmm.driver[0]) = 0;
		describe(0, size, 0);
		for (uint32_t i = 0; i < size + 2; i++)
			serve(0);
		assert_int_equal(stop(0), size + 2);
	}
	vmm_end(&vmm);
}

static void ask_packed(struct packed_driver *packed, uint16_t id)
{
	struct virtio_blk_header header = { VIRTIO_BLK_T_IN, 0, 0 };
	uint16_t first;

	memcpy(vmm.driver[0].bytes + AT_DATA, &header, sizeof(header));
	first = packed_describe(packed, AT_DATA, 16, DESC_NEXT, id);
	packed_describe(packed, AT_DATA + 64, 512, DESC_NEXT | DESC_WRITE, id);
	packed_describe(packed, AT_DATA + 32, 1, DESC_WRITE, id);
	packed_offer(packed, first);
	guest_kick(&vmm, 0);
	pump(&vmm);
}

static void serve_packed(struct packed_driver *packed, uint16_t id)
{
	const struct packed_desc *used;

	ask_packed(packed, id);
	used = packed_used(packed, 3);
	assert_non_null(used);
	assert_int_equal(used->id, id);
	assert_int_equal(used->len, 513);
}

static void packed_rings_have_any_size(void **state)
{
	static const uint32_t sizes[] = { 3, 4, 5, 7, 100, 255, 256, 1000, 1023, 1024 };

	(void)state;
	begin(VIRTIO_F_RING_PACKED);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct packed_driver packed;

		memset(vmm.driver[0].bytes + AT_DESC, 0, AT_DATA - AT_DESC);
		describe(0, sizes[i], PACKED_START);
		packed_init(&packed, &vmm.driver[0], PACKED_START);
		for (uint32_t k = 0; k < sizes[i] + 2; k++)
			serve_packed(&packed, (uint16_t)(k % sizes[i]));
		assert_int_equal(stop(0) & 0xffff, packed.next_avail | (packed.avail_wrap ? 0x8000 : 0));
	}
	vmm_end(&vmm);
}

/* Of a packed ring the base has two places: both are those after the last request has ended, wherever the ring was when
 * it was told to stop. */
static void a_packed_ring_goes_on_behind_what_was_in_flight(void **state)
{
	struct vhost_user_vring_state ring = { 0, 0 };
	struct packed_driver packed;

	(void)state;
	begin(VIRTIO_F_RING_PACKED);
	describe(0, 8, PACKED_START);
	packed_init(&packed, &vmm.driver[0], PACKED_START);
	serve_packed(&packed, 0);
	vmm.disk.hold = true;
	ask_packed(&packed, 1);
	assert_int_equal(vmm.disk.held_count, 1);
	vmm_send(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring), NULL, 0);
	assert_int_equal(vmm_receive(&vmm, 0, NULL, 0), NO_REPLY);
	disk_release(&vmm.disk);
	assert_int_equal(vmm_receive(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring)), sizeof(ring));
	assert_non_null(packed_used(&packed, 3));
	assert_int_equal(ring.num, 0x80068006);
	/* It goes on there, over its end. */
	describe(0, 8, ring.num);
	for (uint16_t k = 0; k < 10; k++)
		serve_packed(&packed, k % 8);
	vmm_end(&vmm);
}

/* VIRTIO_F_RING_RESET: stopped, then anew from nothing, of another size, while the other one is at work. */
static void one_ring_is_reset_below_the_other(void **state)
{
	(void)state;
	begin(VIRTIO_F_RING_RESET);
	describe(0, 64, 0);
	describe(1, 64, 0);
	vmm.disk.hold = true;
	guest_ask(&vmm, 1, 0, VIRTIO_BLK_T_OUT, 0);
	guest_kick(&vmm, 1);
	pump(&vmm);
	assert_int_equal(vmm.disk.held_count, 1);
	vmm.disk.hold = false;
	for (uint32_t size = 32; size <= 256; size *= 2) {
		serve(0);
		stop(0);
		memset(vmm.driver[0].bytes, 0, AT_DATA);
		describe(0, size, 0);
	}
	serve(0);
	assert_int_equal(*driver_used_idx(&vmm.driver[1]), 0);
	disk_release(&vmm.disk);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[1]), 1);
	serve(1);
	vmm_end(&vmm);
}

/* What comes while a ring is disabled is served when it is enabled again, without a kick. */
static void a_disabled_ring_keeps_its_requests(void **state)
{
	(void)state;
	begin(0);
	describe(0, 64, 0);
	describe(1, 64, 0);
	serve(0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
		guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
		guest_kick(&vmm, 0);
		pump(&vmm);
		assert_int_equal(*driver_used_idx(&vmm.driver[0]), i + 1);
		serve(1);
		assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
		pump(&vmm);
		assert_int_equal(*driver_used_idx(&vmm.driver[0]), i + 2);
	}
	/* Stopped while disabled: where it is. */
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	assert_int_equal(stop(0), 4);
	describe(0, 64, 4);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 5);
	vmm_end(&vmm);
}

/* Not every front-end tells both places of a new ring, which are at 0 in the lap of wrap counter 1. */
static void a_new_packed_ring_needs_no_base(void **state)
{
	static const uint32_t bases[] = { PACKED_START, 0x8000, 0 };

	(void)state;
	for (unsigned i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
		struct packed_driver packed;

		begin(VIRTIO_F_RING_PACKED);
		describe(0, 7, bases[i]);
		packed_init(&packed, &vmm.driver[0], PACKED_START);
		for (uint16_t k = 0; k < 30; k++)
			serve_packed(&packed, k % 7);
		vmm_end(&vmm);
	}
}

/* But one that has come round is where it is: at 0 in a lap of wrap counter 0; told in full, or the half that counts. */
static void a_packed_ring_goes_on_in_its_lap(void **state)
{
	struct packed_driver packed;

	(void)state;
	begin(VIRTIO_F_RING_PACKED);
	describe(0, 9, PACKED_START);
	packed_init(&packed, &vmm.driver[0], PACKED_START);
	for (uint16_t k = 0; k < 3; k++)
		serve_packed(&packed, k);
	assert_int_equal(stop(0), 0);
	describe(0, 9, 0);
	for (uint16_t k = 0; k < 4; k++)
		serve_packed(&packed, k);
	assert_int_equal(stop(0), 0x80038003);
	describe(0, 9, 0x8003);
	for (uint16_t k = 0; k < 3; k++)
		serve_packed(&packed, k);
	vmm_end(&vmm);
}

/* Spec: "Ring states". A front-end that does not know how to enable rings need not. */
static void features_without_the_protocols_enable_all(void **state)
{
	(void)state;
	begin(0);
	describe(0, 64, 0);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, 0, 0), 0);
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 0);
	assert_int_equal(
		vmm_set_u64(&vmm, VHOST_USER_SET_FEATURES, VMM_FEATURES & ~VHOST_USER_F_PROTOCOL_FEATURES),
		0);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), 1);
	/* Those that are stopped, too; and they stay so. */
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_FEATURES, VMM_FEATURES), 0);
	describe(0, 64, stop(0));
	serve(0);
	vmm_describe_ring(&vmm, 1, 0);
	serve(1);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, 1, 0), 0);
	guest_ask(&vmm, 1, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 1);
	pump(&vmm);
	assert_int_equal(*driver_used_idx(&vmm.driver[1]), 1);
	vmm_end(&vmm);
}

static void kick_by(const int *fd)
{
	uint64_t ring = fd ? 0 : VHOST_USER_VRING_NO_FD;

	assert_int_equal(vmm_set(&vmm, VHOST_USER_SET_VRING_KICK, &ring, sizeof(ring), fd, fd != NULL), 0);
}

/* Offers a request, and does nothing more. */
static void ask_silently(void)
{
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
}

static void wait_for_used(uint16_t used)
{
	for (unsigned i = 0; i < 10000 && *driver_used_idx(&vmm.driver[0]) != used; i++) {
		poll(NULL, 0, 1);
		pump(&vmm);
	}
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), used);
}

/* Nothing comes in the time of several looks. */
static void assert_unused(uint16_t used)
{
	for (unsigned i = 0; i < 5; i++) {
		poll(NULL, 0, 2);
		pump(&vmm);
	}
	assert_int_equal(*driver_used_idx(&vmm.driver[0]), used);
}

/* Spec, SET_VRING_KICK: no descriptor "signals that polling should be used instead of waiting for the kick". */
static void a_ring_without_kicks_is_polled(void **state)
{
	struct vhost_user_vring_addr addr = {
		.desc = DRIVER_USER + AT_DESC, .used = DRIVER_USER + AT_USED, .avail = DRIVER_USER + AT_AVAIL
	};

	(void)state;
	begin(0);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_NUM, 0, VMM_RING), 0);
	assert_int_equal(vmm_set(&vmm, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), 0);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, 0, 1), 0);
	ask_silently();
	assert_unused(0);
	kick_by(NULL);
	wait_for_used(1);
	ask_silently();
	wait_for_used(2);
	/* To kicks, and back. */
	kick_by(&vmm.kick[0]);
	ask_silently();
	assert_unused(2);
	guest_kick(&vmm, 0);
	wait_for_used(3);
	kick_by(NULL);
	ask_silently();
	wait_for_used(4);
	/* Stopped, it is not looked at, until its polling is told again. */
	assert_int_equal(stop(0), 4);
	ask_silently();
	assert_unused(4);
	kick_by(NULL);
	wait_for_used(5);
	/* A broken one, no more. */
	driver_offer(&vmm.driver[0], VMM_RING);
	assert_unused(5);
	vmm_end(&vmm);
}

/* Offered and kicked, and told to stop before anybody looked: the VMM describes the ring again, with the same descriptors,
 * and the driver has kicked already. */
static void a_kick_outlives_a_stop(void **state)
{
	(void)state;
	begin(0);
	describe(0, 64, 0);
	serve(0);
	for (uint32_t i = 1; i < 4; i++) {
		uint32_t base;

		assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, 0, i % 2), 0);
		guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
		guest_kick(&vmm, 0);
		base = stop(0);
		assert_int_equal(*driver_used_idx(&vmm.driver[0]), base);
		describe(0, 64, base);
		pump(&vmm);
		assert_int_equal(*driver_used_idx(&vmm.driver[0]), i + 1);
	}
	/* But there is none where nothing is left. */
	stop(0);
	assert_int_equal(signals(vmm.kick[0]), 0);
	vmm_end(&vmm);
}

static void a_packed_rings_kick_outlives_a_stop(void **state)
{
	struct packed_driver packed;
	struct vhost_user_vring_state ring = { 0, 0 };
	struct virtio_blk_header header = { VIRTIO_BLK_T_IN, 0, 0 };
	uint16_t first;

	(void)state;
	begin(VIRTIO_F_RING_PACKED);
	describe(0, 8, PACKED_START);
	packed_init(&packed, &vmm.driver[0], PACKED_START);
	serve_packed(&packed, 0);
	memcpy(vmm.driver[0].bytes + AT_DATA, &header, sizeof(header));
	first = packed_describe(&packed, AT_DATA, 16, DESC_NEXT, 1);
	packed_describe(&packed, AT_DATA + 64, 513, DESC_WRITE, 1);
	packed_offer(&packed, first);
	guest_kick(&vmm, 0);
	ring.num = stop(0);
	assert_int_equal(ring.num, 0x80038003);
	describe(0, 8, ring.num);
	pump(&vmm);
	assert_non_null(packed_used(&packed, 2));
	vmm_end(&vmm);
}

/* Spec: "Support for platforms other than Linux". More kicks than a pipe has room for. */
static void a_pipe_may_kick(void **state)
{
	const uint64_t one = 1;
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
	begin(0);
	describe(0, 64, 0);
	assert_int_equal(vmm_set_fd(&vmm, VHOST_USER_SET_VRING_KICK, 0, ends[0]), 0);
	for (unsigned i = 0; i < 3; i++) {
		for (unsigned k = 0; k < 6000; k++) {
			assert_int_equal(write(ends[1], &one, sizeof(one)), sizeof(one));
			if (k % 500 == 0)
				pump(&vmm);
		}
		guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
		assert_int_equal(write(ends[1], &one, sizeof(one)), sizeof(one));
		pump(&vmm);
		assert_int_equal(*driver_used_idx(&vmm.driver[0]), i + 1);
	}
	vmm_end(&vmm);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split_rings_have_any_power_of_two),
		cmocka_unit_test(packed_rings_have_any_size),
		cmocka_unit_test(a_packed_ring_goes_on_behind_what_was_in_flight),
		cmocka_unit_test(one_ring_is_reset_below_the_other),
		cmocka_unit_test(a_disabled_ring_keeps_its_requests),
		cmocka_unit_test(a_new_packed_ring_needs_no_base),
		cmocka_unit_test(a_packed_ring_goes_on_in_its_lap),
		cmocka_unit_test(features_without_the_protocols_enable_all),
		cmocka_unit_test(a_ring_without_kicks_is_polled),
		cmocka_unit_test(a_kick_outlives_a_stop),
		cmocka_unit_test(a_packed_rings_kick_outlives_a_stop),
		cmocka_unit_test(a_pipe_may_kick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
