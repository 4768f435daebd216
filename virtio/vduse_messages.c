/* virtio/vduse_messages.c -- what the kernel says of the driver, one message after the other.
 *
 * D2  A record says what its rings say: it is empty from the device's reset until the rings start, and the reset is
 *     answered after that. So our successor, which knows what the kernel says of the rings and no more, may go by it,
 *     once it knows that no change of the status waits for its answer.
 */
#include "virtio/vduse_state.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "conf/log.h"

/* Spec: virtio, "Device Status Field". */
#define STATUS_FEATURES_OK 8u
#define STATUS_DRIVER_OK   4u

enum vduse_handled {
	VDUSE_DONE,
	VDUSE_WAIT,  /* done when no order waits any more, if none has failed */
	VDUSE_AGAIN, /* handle it again when no order waits any more */
};

static bool features_are_good(const struct vduse *vduse)
{
	const uint64_t needed = VIRTIO_F_VERSION_1 | VIRTIO_F_ACCESS_PLATFORM;
	uint64_t features;

	if (vduse_device_features(&vduse->device, &features))
		return false;
	return !(features & ~vduse_features_offered(&vduse->blk)) && (features & needed) == needed;
}

static int driver_begins(struct vduse *vduse)
{
	int error;

	/* By us, before it came. */
	if (vduse_any_started(vduse))
		return VDUSE_DONE;
	error = vduse_start_rings(vduse);
	if (!vduse->orders)
		return error;
	/* Some are starting all the same: the answer comes after them. */
	if (error)
		vduse->order_error = error;
	return VDUSE_WAIT;
}

static int set_status(struct vduse *vduse, struct vduse_dev_response *response)
{
	uint8_t status = vduse->request.s.status;

	(void)response;
	if (status & STATUS_DRIVER_OK)
		return driver_begins(vduse);
	if (vduse_any_started(vduse)) {
		vduse_order_started(vduse, BLK_ORDER_STOP);
		return VDUSE_AGAIN;
	}
	if (status == 0)
		inflight_clear(vduse->inflight); /* D2 */
	if ((status & STATUS_FEATURES_OK) && !features_are_good(vduse)) {
		log_error("%s: its driver wants other features than those offered", vduse->device.name);
		return -EINVAL;
	}
	return VDUSE_DONE;
}

/* Who asks takes the ring away. */
static int get_vq_state(struct vduse *vduse, struct vduse_dev_response *response)
{
	uint32_t index = vduse->request.vq_state.index;
	struct vduse_ring *ring;

	if (index >= vduse->ring_count)
		return -EINVAL;
	ring = &vduse->rings[index];
	if (ring->started) {
		vduse_stop_ring(ring);
		return VDUSE_AGAIN;
	}
	response->vq_state.index = index;
	if (vduse->features & VIRTIO_F_RING_PACKED)
		response->vq_state.packed = (struct vduse_vq_state_packed){
			.last_avail_idx = ring->base & 0x7fff,
			.last_avail_counter = ring->base >> 15 & 1,
			.last_used_idx = ring->base >> 16 & 0x7fff,
			.last_used_counter = ring->base >> 31,
		};
	else
		response->vq_state.split.avail_index = (uint16_t)ring->base;
	return VDUSE_DONE;
}

static int update_iotlb(struct vduse *vduse, struct vduse_dev_response *response)
{
	int error = vduse_renew_memory(vduse);

	(void)response;
	if (error)
		return error;
	vduse_order_started(vduse, BLK_ORDER_MEMORY);
	return vduse->orders ? VDUSE_WAIT : VDUSE_DONE;
}

static const struct {
	const char *name;
	/* Returns enum vduse_handled, or -errno: refused. */
	int (*handle)(struct vduse *vduse, struct vduse_dev_response *response);
} kinds[] = {
	[VDUSE_GET_VQ_STATE] = { "GET_VQ_STATE", get_vq_state },
	[VDUSE_SET_STATUS] = { "SET_STATUS", set_status },
	[VDUSE_UPDATE_IOTLB] = { "UPDATE_IOTLB", update_iotlb },
};

static void message_done(struct vduse *vduse, struct vduse_dev_response *response, int error)
{
	response->request_id = vduse->request.request_id;
	response->result = error ? VDUSE_REQ_RESULT_FAILED : VDUSE_REQ_RESULT_OK;
	/* ENOENT: the kernel no longer waits for it. */
	if (write(vduse->device.fd, response, sizeof(*response)) < 0)
		log_warning("%s: an answer is too late: %s", vduse->device.name, strerror(errno));
	vduse->waiting = false;
	if (!vduse->refused)
		ev_io_start(vduse->main->ev, &vduse->on_message);
}

void vduse_message_handle(struct vduse *vduse)
{
	struct vduse_dev_response response = { 0 };
	uint32_t type = vduse->request.type;
	int handled = -EOPNOTSUPP;

	if (type < sizeof(kinds) / sizeof(kinds[0]))
		handled = kinds[type].handle(vduse, &response);
	vduse->again = handled == VDUSE_AGAIN;
	if (handled > VDUSE_DONE)
		return;
	if (handled < 0)
		log_warning("%s: refused the kernel's message %u", vduse->device.name, type);
	message_done(vduse, &response, handled);
}

void vduse_message_go_on(struct vduse *vduse)
{
	if (vduse->waiting && vduse->again && !vduse->order_error)
		vduse_message_handle(vduse);
	else if (vduse->waiting)
		message_done(vduse, &(struct vduse_dev_response){ 0 }, vduse->order_error);
}

bool vduse_message_read(struct vduse *vduse)
{
	if (read(vduse->device.fd, &vduse->request, sizeof(vduse->request)) !=
		(ssize_t)sizeof(vduse->request))
		return false;
	if (vduse->request.type < sizeof(kinds) / sizeof(kinds[0]))
		log_debug("%s: kernel: %s %u", vduse->device.name, kinds[vduse->request.type].name,
			vduse->request.type == VDUSE_SET_STATUS ? vduse->request.s.status
								: vduse->request.vq_state.index);
	vduse->waiting = vduse->again = true;
	ev_io_stop(vduse->main->ev, &vduse->on_message);
	return true;
}

void vduse_on_message(struct ev_loop *ev, ev_io *watcher, int revents)
{
	struct vduse *vduse = watcher->data;
	uint64_t features;

	(void)ev;
	(void)revents;
	loop_assert_mine(vduse->main);
	/* An order that no message waits for: a message before its end is the next turn's. */
	if (vduse->orders)
		return;
	if (vduse_message_read(vduse)) {
		vduse_message_handle(vduse);
		return;
	}
	if (vduse_device_features(&vduse->device, &features) == 0)
		return;
	log_error("%s: the kernel has given the device up: a message was not answered in time",
		vduse->device.name);
	vduse_fail(vduse);
}
