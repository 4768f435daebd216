/* virtio/vduse_rings.c -- the rings of a VDUSE device, and the memory that its driver names.
 *
 * D1  A ring has at most one order at a time: a message is handled only when no order waits.
 */
#include "virtio/vduse_state.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "conf/container.h"
#include "conf/log.h"

int vduse_renew_memory(struct vduse *vduse)
{
	struct guest_memory *memory = guest_memory_from(&vduse->device.memory);

	if (!memory)
		return -ENOMEM;
	guest_memory_put(vduse->memory);
	vduse->memory = memory;
	return 0;
}

/* -- orders ------------------------------------------------------------------------------------------------------- */

static void order_answered(struct blk_queue_order *order)
{
	struct vduse_ring *ring = container_of(order, struct vduse_ring, order);
	struct vduse *vduse = ring->vduse;

	loop_assert_mine(vduse->main);
	if (order->result) {
		log_error("%s: queue %u: out of memory", vduse->device.name, (unsigned)(ring - vduse->rings));
		vduse->order_error = order->result;
	}
	if (order->kind == BLK_ORDER_START)
		ring->started = order->result == 0;
	if (order->kind == BLK_ORDER_STOP) {
		ring->started = false;
		ring->base = order->base;
	}
	if (!ring->started && ring->kick >= 0) {
		close(ring->kick);
		ring->kick = -1;
	}
	if (--vduse->orders == 0)
		vduse_settled(vduse);
}

static void give_order(struct vduse_ring *ring, enum blk_order_kind kind, const struct vring_setup *setup)
{
	struct vduse *vduse = ring->vduse;

	if (vduse->orders++ == 0)
		vduse->order_error = 0;
	ring->order = (struct blk_queue_order){
		.queue = ring->queue,
		.kind = kind,
		.memory = vduse->memory,
		.kick = ring->kick,
		.call = vduse->device.fd,
		.call_by = vduse_device_call,
		.err = -1,
		.enabled = true,
		.leave = vduse->life == VDUSE_ENDING, /* to our successor */
		.done = order_answered,
	};
	if (setup)
		ring->order.setup = *setup;
	blk_queue_give_order(&ring->order);
}

void vduse_order_started(struct vduse *vduse, enum blk_order_kind kind)
{
	for (unsigned i = 0; i < vduse->ring_count; i++) {
		if (vduse->rings[i].started)
			give_order(&vduse->rings[i], kind, NULL);
	}
}

void vduse_stop_ring(struct vduse_ring *ring)
{
	give_order(ring, BLK_ORDER_STOP, NULL);
}

bool vduse_any_started(const struct vduse *vduse)
{
	for (unsigned i = 0; i < vduse->ring_count; i++) {
		if (vduse->rings[i].started)
			return true;
	}
	return false;
}

/* -- the start ---------------------------------------------------------------------------------------------------- */

static int ring_start(struct vduse_ring *ring)
{
	struct vduse *vduse = ring->vduse;
	unsigned index = (unsigned)(ring - vduse->rings);
	struct vring_setup setup;
	int ready = vduse_device_ring(&vduse->device, index, vduse->features, &setup), kick;

	if (ready <= 0)
		return ready;
	kick = vduse_device_kick(&vduse->device, index);
	if (kick < 0)
		return kick;
	ring->kick = kick;
	setup.record = inflight_record(vduse->inflight, vduse->features, index, &setup.record_bytes);
	give_order(ring, BLK_ORDER_START, &setup);
	return 0;
}

int vduse_start_rings(struct vduse *vduse)
{
	int error = vduse_renew_memory(vduse);

	if (!error)
		error = vduse_device_features(&vduse->device, &vduse->features);
	for (unsigned i = 0; i < vduse->ring_count && !error; i++)
		error = ring_start(&vduse->rings[i]);
	if (error)
		log_error("%s: cannot start its queues: %s", vduse->device.name, strerror(-error));
	return error;
}
