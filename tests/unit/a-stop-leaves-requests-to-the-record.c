/* A ring that is stopped while the disk is away leaves what the disk gives back to the record, where the VMM wants that or
 * is gone: the VMM has its answer at once, and who goes on asks the disk again, in order.  If this fails, a virtual machine
 * cannot be moved or stopped while its storage is away, or its requests are lost on the way. */
#include "packed_driver.h"
#include "two_back_ends.h"

#define LEAVES (VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD | VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT)

static void ask_three(struct vmm *vmm)
{
	vmm->disk.hold = true;
	for (unsigned slot = 0; slot < 3; slot++)
		guest_ask(vmm, 0, slot, VIRTIO_BLK_T_OUT, slot);
	guest_kick(vmm, 0);
	pump(vmm);
	assert_int_equal(vmm->disk.held_count, 3);
}

static void begin_with(uint64_t protocol, uint64_t features)
{
	vmm_begin(&first);
	first.protocol = protocol;
	boot_with(&first, false, features);
}

/* The reply's size or NO_REPLY. */
static int base_of(struct vmm *vmm, struct vhost_user_vring_state *ring)
{
	*ring = (struct vhost_user_vring_state){ 0, 0 };
	vmm_send(vmm, VHOST_USER_GET_VRING_BASE, ring, sizeof(*ring), NULL, 0);
	return vmm_receive(vmm, VHOST_USER_GET_VRING_BASE, ring, sizeof(*ring));
}

/* The first gives back what its disk holds. @ring: what it answers. */
static void leave_three(struct vhost_user_vring_state *ring)
{
	begin_with(LEAVES, 0);
	ask_three(&first);
	first.disk.gives_back = true;
	assert_int_equal(base_of(&first, ring), sizeof(*ring));
}

static void go_on_with(uint64_t features)
{
	begin_second();
	second.disk.hold = true;
	boot_with(&second, true, features);
	pump(&second);
}

/* In order; and both are at their end. */
static void second_answers_three(void)
{
	assert_int_equal(second.disk.held_count, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(second.disk.held[i]->offset, i * 512);
	disk_release(&second.disk);
	pump(&second);
	assert_int_equal(*driver_used_idx(&second.driver[0]), 3);
	end_both();
}

static void what_the_disk_gives_back_is_for_the_next(void **state)
{
	struct vhost_user_vring_state ring;

	(void)state;
	leave_three(&ring);
	assert_int_equal(ring.num, 3);
	assert_int_equal(first.disk.held_count, 0);
	assert_int_equal(*driver_used_idx(&first.driver[0]), 0);
	go_on_with(0);
	second_answers_three();
}

/* The same back-end goes on, too: a VMM that stops its machine and lets it go on. */
static void the_same_one_may_go_on(void **state)
{
	struct vhost_user_vring_state ring;

	(void)state;
	leave_three(&ring);
	vmm_describe_ring(&first, 0, ring.num);
	pump(&first);
	assert_int_equal(first.disk.held_count, 3);
	disk_release(&first.disk);
	pump(&first);
	assert_int_equal(*driver_used_idx(&first.driver[0]), 3);
	assert_int_equal(*guest_status(&first, 0, 0), VIRTIO_BLK_S_OK);
	close(record_fd);
	vmm_end(&first);
}

/* One is answered, one lost with its connection, one was never sent. */
static void what_is_on_its_way_is_waited_for(void **state)
{
	struct vhost_user_vring_state ring;
	struct block_req *answered, *lost;

	(void)state;
	begin_with(LEAVES, 0);
	ask_three(&first);
	assert_int_equal(base_of(&first, &ring), NO_REPLY);
	lost = disk_take_held(&first.disk, 2);
	answered = disk_take_held(&first.disk, 0);
	lost->done(lost, -ECANCELED);
	answered->done(answered, 0);
	assert_int_equal(vmm_receive(&first, 0, NULL, 0), NO_REPLY);
	lost = disk_take_held(&first.disk, 0);
	lost->done(lost, -ECANCELED);
	assert_int_equal(vmm_receive(&first, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring)), sizeof(ring));
	assert_int_equal(*driver_used_idx(&first.driver[0]), 1);
	go_on_with(0);
	assert_int_equal(second.disk.held_count, 2);
	assert_int_equal(second.disk.held[0]->offset, 512);
	assert_int_equal(second.disk.held[1]->offset, 1024);
	end_both();
}

static void nothing_is_left_unless_the_vmm_can_take_it(void **state)
{
	static const struct {
		uint64_t protocol;
		bool record;
	} cases[] = { { 0, true }, { VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD, true }, { LEAVES, false } };
	struct vhost_user_vring_state ring;

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		vmm_begin(&first);
		first.protocol = cases[i].protocol;
		if (cases[i].record)
			boot(&first, false);
		else
			vmm_boot(&first);
		ask_three(&first);
		first.disk.gives_back = true;
		assert_int_equal(base_of(&first, &ring), NO_REPLY);
		disk_release(&first.disk);
		assert_int_equal(
			vmm_receive(&first, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring)), sizeof(ring));
		assert_int_equal(ring.num, 3);
		assert_int_equal(*driver_used_idx(&first.driver[0]), 3);
		if (cases[i].record)
			close(record_fd);
		vmm_end(&first);
	}
}

/* A VMM that is gone waits for nothing, and one that comes in its place need not wait either. */
static void a_vmm_that_is_gone_leaves_its_requests(void **state)
{
	(void)state;
	begin_with(0, 0);
	ask_three(&first);
	first.disk.gives_back = true;
	vmm_disconnect(&first);
	pump(&first);
	assert_int_equal(first.disk.held_count, 0);
	boot(&first, true);
	pump(&first);
	assert_int_equal(first.disk.held_count, 3);
	assert_int_equal(first.disk.held[0]->offset, 0);
	/* So does a back-end that is to end. */
	close(record_fd);
	vmm_end(&first);
}

/* What our predecessor took and we have not asked the disk for is left as it is. */
static void what_was_left_before_is_left_again(void **state)
{
	struct vhost_user_vring_state ring;

	(void)state;
	leave_three(&ring);
	begin_second();
	second.disk.hold = second.disk.gives_back = true;
	second.protocol = LEAVES;
	boot(&second, true);
	assert_int_equal(base_of(&second, &ring), sizeof(ring));
	assert_int_equal(ring.num, 3);
	vmm_describe_ring(&second, 0, ring.num);
	pump(&second);
	assert_int_equal(second.disk.held_count, 3);
	end_both();
}

/* The second part of a request is not begun any more: all of it is for the next. */
static void a_long_request_is_left_in_the_middle(void **state)
{
	struct vhost_user_vring_state ring;
	struct block_req *part;

	(void)state;
	begin_with(LEAVES, 0);
	first.disk.hold = true;
	guest_ask(&first, 0, 0, VIRTIO_BLK_T_IN, 0);
	first.driver[0].desc[1].len = 2 * DISK_DATA_MAX;
	guest_kick(&first, 0);
	pump(&first);
	assert_int_equal(first.disk.held_count, 1);
	assert_int_equal(base_of(&first, &ring), NO_REPLY);
	part = disk_take_held(&first.disk, 0);
	part->done(part, 0);
	assert_int_equal(vmm_receive(&first, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring)), sizeof(ring));
	assert_int_equal(first.disk.held_count, 0);
	assert_int_equal(*driver_used_idx(&first.driver[0]), 0);
	go_on_with(0);
	assert_int_equal(second.disk.held_count, 1);
	assert_int_equal(second.disk.held[0]->offset, 0);
	part = disk_take_held(&second.disk, 0);
	part->done(part, 0);
	assert_int_equal(second.disk.held[0]->offset, DISK_DATA_MAX);
	end_both();
}

/* The second was done, and waited for the first: the driver knows of neither. */
static void an_ordered_ring_leaves_what_waits_for_its_turn(void **state)
{
	struct vhost_user_vring_state ring;
	struct block_req *done;

	(void)state;
	begin_with(LEAVES, VIRTIO_F_IN_ORDER);
	ask_three(&first);
	done = disk_take_held(&first.disk, 1);
	done->done(done, 0);
	pump(&first);
	first.disk.gives_back = true;
	assert_int_equal(base_of(&first, &ring), sizeof(ring));
	assert_int_equal(*driver_used_idx(&first.driver[0]), 0);
	go_on_with(VIRTIO_F_IN_ORDER);
	second_answers_three();
}

static void ask_packed(struct packed_driver *packed, uint16_t id)
{
	struct virtio_blk_header header = { VIRTIO_BLK_T_IN, 0, id };
	uint64_t at = AT_DATA + id * 1024u;
	uint16_t place;

	memcpy(first.driver[0].bytes + at, &header, sizeof(header));
	place = packed_describe(packed, at, 16, DESC_NEXT, id);
	packed_describe(packed, at + 64, 512, DESC_NEXT | DESC_WRITE, id);
	packed_describe(packed, at + 32, 1, DESC_WRITE, id);
	packed_offer(packed, place);
}

static void packed_rings_leave_theirs(void **state)
{
	struct vhost_user_vring_state ring;
	struct packed_driver packed;
	struct block_req *done;

	(void)state;
	vmm_begin(&first);
	first.protocol = LEAVES;
	first.disk.hold = true;
	/* A split ring's base is no packed ring's. */
	*driver_used_idx(&first.driver[0]) = *driver_used_idx(&first.driver[1]) = VRING_PACKED_START;
	boot_with(&first, false, VIRTIO_F_RING_PACKED);
	memset(first.driver[0].bytes + AT_USED, 0, 8);
	assert_int_equal(vmm_set_state(&first, VHOST_USER_SET_VRING_BASE, 0, PACKED_START), 0);
	packed_init(&packed, &first.driver[0], PACKED_START);
	for (uint16_t id = 0; id < 3; id++)
		ask_packed(&packed, id);
	guest_kick(&first, 0);
	pump(&first);
	assert_int_equal(first.disk.held_count, 3);
	done = disk_take_held(&first.disk, 1);
	disk_carry_out(&first.disk, done);
	done->done(done, 0);
	first.disk.gives_back = true;
	assert_int_equal(base_of(&first, &ring), sizeof(ring));
	assert_int_equal(ring.num, 0x80038009);
	assert_int_equal(packed_used(&packed, 3)->id, 1);
	vmm_describe_ring(&first, 0, ring.num);
	pump(&first);
	assert_int_equal(first.disk.held_count, 2);
	assert_int_equal(first.disk.held[0]->offset, 0);
	assert_int_equal(first.disk.held[1]->offset, 1024);
	disk_release(&first.disk);
	pump(&first);
	assert_int_equal(packed_used(&packed, 3)->id, 2);
	assert_int_equal(packed_used(&packed, 3)->id, 0);
	assert_null(packed_used(&packed, 3));
	close(record_fd);
	vmm_end(&first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_disk_gives_back_is_for_the_next),
		cmocka_unit_test(the_same_one_may_go_on),
		cmocka_unit_test(what_is_on_its_way_is_waited_for),
		cmocka_unit_test(nothing_is_left_unless_the_vmm_can_take_it),
		cmocka_unit_test(a_vmm_that_is_gone_leaves_its_requests),
		cmocka_unit_test(what_was_left_before_is_left_again),
		cmocka_unit_test(a_long_request_is_left_in_the_middle),
		cmocka_unit_test(an_ordered_ring_leaves_what_waits_for_its_turn),
		cmocka_unit_test(packed_rings_leave_theirs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
