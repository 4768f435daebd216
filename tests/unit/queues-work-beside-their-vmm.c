/* Two queues on threads of their own lose and mix nothing while their VMM changes memory and descriptors, pauses rings,
 * crashes and comes back.  If this fails, a live change of a running guest corrupts its disk now and then. */
#include "vmm.h"

enum { DEPTH = 4, ROUNDS = 600 };

/* Completes what it is asked for one turn later, on the queue's own thread; or when it no longer holds. */
struct late_disk {
	struct disk disk;
	struct loop *loop;
	struct block_req *first, **last;
	atomic_bool hold;
	atomic_uint asked;
	ev_prepare on_turn;
	ev_idle awake;
	uint8_t bytes[DISK_BYTES];
};

static struct vmm vmm;
static struct late_disk disks[VMM_QUEUES];

static int late_submit(struct disk *disk, struct block_req *req)
{
	struct late_disk *late = container_of(disk, struct late_disk, disk);

	req->wait.next = NULL;
	*late->last = req;
	late->last = &req->wait.next;
	atomic_fetch_add(&late->asked, 1);
	if (!atomic_load(&late->hold))
		ev_idle_start(late->loop->ev, &late->awake);
	return DISK_PENDING;
}

static void on_turn(struct ev_loop *ev, ev_prepare *watcher, int revents)
{
	struct late_disk *late = watcher->data;
	struct block_req *req = late->first, *next;

	(void)revents;
	if (atomic_load(&late->hold))
		return;
	late->first = NULL;
	late->last = &late->first;
	ev_idle_stop(ev, &late->awake);
	for (; req; req = next) {
		uint8_t *at = late->bytes + req->offset;

		next = req->wait.next;
		for (unsigned i = 0; i < req->iov_count; i++) {
			void *theirs = req->iov[i].iov_base;
			size_t length = req->iov[i].iov_len;

			memcpy(req->op == BLOCK_READ ? theirs : at, req->op == BLOCK_READ ? at : theirs,
				length);
			at += length;
		}
		req->done(req, 0);
	}
}

static void on_awake(struct ev_loop *ev, ev_idle *watcher, int revents)
{
	(void)ev;
	(void)watcher;
	(void)revents;
}

static void disk_begin(struct late_disk *late, unsigned q)
{
	static const struct disk_ops ops = { .submit = late_submit };

	late->disk.ops = &ops;
	late->loop = &vmm.queue_loop[q];
	late->last = &late->first;
	ev_prepare_init(&late->on_turn, on_turn);
	ev_idle_init(&late->awake, on_awake);
	late->on_turn.data = late;
	ev_prepare_start(late->loop->ev, &late->on_turn);
}

static uint16_t used_idx(unsigned q)
{
	return __atomic_load_n(driver_used_idx(&vmm.driver[q]), __ATOMIC_SEQ_CST);
}

static void wait_until_all_is_used(unsigned q)
{
	struct pollfd call = { vmm.call[q], POLLIN, 0 };

	while (used_idx(q) != driver_avail_idx(&vmm.driver[q])) {
		__atomic_store_n(driver_used_event(&vmm.driver[q]), used_idx(q), __ATOMIC_SEQ_CST);
		if (used_idx(q) == driver_avail_idx(&vmm.driver[q]))
			break;
		/* The deadline of a request that is lost. */
		assert_int_equal(poll(&call, 1, 10000), 1);
		signals(vmm.call[q]);
	}
}

static void change_something(unsigned round)
{
	struct vhost_user_vring_state ring = { round & 1, 0 };
	int q = round & 1;

	switch (round % 6) {
	case 0:
		assert_int_equal(vmm_set_memory(&vmm), 0);
		break;
	case 1:
		assert_int_equal(vmm_set_fd(&vmm, VHOST_USER_SET_VRING_CALL, (unsigned)q, vmm.call[q]), 0);
		break;
	case 2:
		assert_int_equal(vmm_set_fd(&vmm, VHOST_USER_SET_VRING_KICK, (unsigned)q, vmm.kick[q]), 0);
		break;
	case 3:
		assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, (unsigned)q, 0), 0);
		assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, (unsigned)q, 1), 0);
		break;
	case 4:
		vmm_send(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring), NULL, 0);
		assert_int_equal(vmm_receive(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring)), 8);
		vmm_describe_ring(&vmm, ring.index, ring.num);
		guest_kick(&vmm, ring.index);
		break;
	case 5:
		/* A crash: what was taken is finished, what was not is taken by the next back-end session. */
		vmm_disconnect(&vmm);
		vmm_connect(&vmm);
		vmm_negotiate(&vmm, VMM_FEATURES);
		assert_int_equal(vmm_set_memory(&vmm), 0);
		for (unsigned i = 0; i < VMM_QUEUES; i++) {
			vmm_describe_ring(&vmm, i, used_idx(i));
			assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, i, 1), 0);
			guest_kick(&vmm, i);
		}
		break;
	}
}

static void fill(unsigned q, unsigned slot, unsigned round)
{
	memset(guest_data(&vmm, q, slot), (int)(round * 7 + slot + q * 31), 512);
}

static void ask_all(unsigned q, uint32_t type, unsigned round)
{
	for (unsigned slot = 0; slot < DEPTH; slot++) {
		if (type == VIRTIO_BLK_T_OUT)
			fill(q, slot, round);
		else
			memset(guest_data(&vmm, q, slot), 0, 512);
		guest_ask(&vmm, q, slot, type, q * 64 + (round * DEPTH + slot) % 64);
	}
	guest_kick(&vmm, q);
}

static void check_all(unsigned q, unsigned round)
{
	for (unsigned slot = 0; slot < DEPTH; slot++) {
		uint8_t *data = guest_data(&vmm, q, slot);

		assert_int_equal(*guest_status(&vmm, q, slot), VIRTIO_BLK_S_OK);
		for (unsigned i = 0; i < 512; i++)
			assert_int_equal(data[i], (uint8_t)(round * 7 + slot + q * 31));
	}
}

static void nothing_is_lost_or_mixed(void **state)
{
	(void)state;
	vmm_begin_on(&vmm, (struct disk *[]){ &disks[0].disk, &disks[1].disk });
	for (unsigned q = 0; q < VMM_QUEUES; q++)
		disk_begin(&disks[q], q);
	vmm_run_threads(&vmm);
	vmm_boot(&vmm);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (uint32_t type = VIRTIO_BLK_T_OUT; type <= VIRTIO_BLK_T_OUT; type--) {
			for (unsigned q = 0; q < VMM_QUEUES; q++)
				ask_all(q, type, round);
			change_something(round + type);
			for (unsigned q = 0; q < VMM_QUEUES; q++)
				wait_until_all_is_used(q);
		}
		for (unsigned q = 0; q < VMM_QUEUES; q++)
			check_all(q, round);
	}
	vmm_end(&vmm);
}

/* More chains than a queue takes in one turn, and one kick: the loop must not sleep on the rest, though nothing else
 * happens that would wake it. */
static void one_kick_is_enough_for_a_full_ring(void **state)
{
	(void)state;
	vmm_begin_on(&vmm, (struct disk *[]){ &disks[0].disk, &disks[1].disk });
	for (unsigned q = 0; q < VMM_QUEUES; q++)
		disk_begin(&disks[q], q);
	vmm_run_threads(&vmm);
	vmm_boot(&vmm);
	/* The ring's start would look at it twice. */
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	wait_until_all_is_used(0);
	atomic_store(&disks[0].asked, 0);
	atomic_store(&disks[0].hold, true);
	for (unsigned i = 0; i < VMM_RING; i++)
		driver_offer(&vmm.driver[0], 0);
	guest_kick(&vmm, 0);
	for (unsigned ms = 0; ms < 10000 && atomic_load(&disks[0].asked) < VMM_RING; ms++)
		poll(NULL, 0, 1);
	assert_int_equal(atomic_load(&disks[0].asked), VMM_RING);
	atomic_store(&disks[0].hold, false);
	guest_kick(&vmm, 0);
	wait_until_all_is_used(0);
	vmm_end(&vmm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_lost_or_mixed),
		cmocka_unit_test(one_kick_is_enough_for_a_full_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
