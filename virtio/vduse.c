/* virtio/vduse.c -- the device's file: one message of the kernel after the other, and the life around them.
 *
 *   ATTACHING --attached--> SERVING --stop--> DETACHING --gone or in use--> ENDING --rings stopped--> (free)
 *       |                      |                                               ^
 *       +-- refused ---------- + -- given up by the kernel, then stop ---------+
 *
 * Messages are answered in all but the last: the kernel's driver talks to the device while it is attached and detached.
 *
 * D1  A ring has at most one order at a time: a message is handled only when no order waits.
 * D2  A record says what its rings say: it is empty from the device's reset until the rings start, and the reset is
 *     answered after that. So our successor, which knows what the kernel says of the rings and no more, may go by it,
 *     once it knows that no change of the status waits for its answer.
 */
#include "virtio/vduse.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/container.h"
#include "conf/log.h"
#include "virtio/blk_queue.h"
#include "virtio/vdpa_bus.h"
#include "virtio/vduse_device.h"
#include "virtio/vduse_record.h"

/* Spec: virtio, "Device Status Field". */
#define STATUS_FEATURES_OK 8u
#define STATUS_DRIVER_OK   4u

enum vduse_life { VDUSE_ATTACHING, VDUSE_SERVING, VDUSE_DETACHING, VDUSE_ENDING };

struct vduse_ring {
	struct vduse *vduse;	      /* borrowed: has us in an array */
	struct blk_queue *queue;      /* owned */
	struct blk_queue_order order; /* to the queue; in use while it is one of vduse->orders */
	bool started;
	uint32_t base; /* where it stopped */
	int kick;      /* owned, while it is started; -1: none */
};

struct vduse {
	struct loop *main; /* borrowed */
	struct virtio_blk blk;
	struct vduse_device device;
	enum vduse_life life;
	bool stopping; /* as we were told */
	bool refused;  /* by the kernel */
	bool removed;  /* from the bus: nobody else knows the device */

	ev_io on_message;
	struct vduse_dev_request request; /* the message that is being handled */
	bool waiting;			  /* it is, until orders are carried out */
	bool again;			  /* it is to be handled again then */

	ev_io on_bus; /* a change of the bus under way has ended */

	struct guest_memory *memory; /* counted */
	struct inflight *inflight;   /* owned */
	uint64_t features;	     /* negotiated */
	struct vduse_ring *rings;    /* owned */
	unsigned ring_count;
	unsigned orders; /* given to queues and not answered yet */
	int order_error; /* of one of them */

	void (*failed)(void *arg);
	void *failed_arg;
	struct mail on_failed;
	void (*stopped)(void *arg);
	void *stopped_arg;
	struct mail on_stop;
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void post_failed(struct mail *mail)
{
	struct vduse *vduse = container_of(mail, struct vduse, on_failed);

	if (!vduse->stopping)
		vduse->failed(vduse->failed_arg);
}

static void vduse_fail(struct vduse *vduse)
{
	if (vduse->refused)
		return;
	vduse->refused = true;
	ev_io_stop(vduse->main->ev, &vduse->on_message);
	vduse->on_failed.read = post_failed;
	loop_post(vduse->main, &vduse->on_failed);
}

/* -- memory ------------------------------------------------------------------------------------------------------- */

/* What was known of the driver's memory may have changed: ask again. */
static int memory_renew(struct vduse *vduse)
{
	struct guest_memory *memory = guest_memory_from(&vduse->device.memory);

	if (!memory)
		return -ENOMEM;
	guest_memory_put(vduse->memory);
	vduse->memory = memory;
	return 0;
}

/* -- orders ------------------------------------------------------------------------------------------------------- */

static void settled(struct vduse *vduse);

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
	if (!ring->started)
		close_fd(&ring->kick);
	if (--vduse->orders == 0)
		settled(vduse);
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

static void order_started(struct vduse *vduse, enum blk_order_kind kind)
{
	for (unsigned i = 0; i < vduse->ring_count; i++) {
		if (vduse->rings[i].started)
			give_order(&vduse->rings[i], kind, NULL);
	}
}

static bool any_is_started(const struct vduse *vduse)
{
	for (unsigned i = 0; i < vduse->ring_count; i++) {
		if (vduse->rings[i].started)
			return true;
	}
	return false;
}

/* -- rings -------------------------------------------------------------------------------------------------------- */

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

static int rings_start(struct vduse *vduse)
{
	int error = memory_renew(vduse);

	if (!error)
		error = vduse_device_features(&vduse->device, &vduse->features);
	for (unsigned i = 0; i < vduse->ring_count && !error; i++)
		error = ring_start(&vduse->rings[i]);
	if (error)
		log_error("%s: cannot start its queues: %s", vduse->device.name, strerror(-error));
	return error;
}

/* -- messages ----------------------------------------------------------------------------------------------------- */

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
	if (any_is_started(vduse))
		return VDUSE_DONE;
	error = rings_start(vduse);
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
	if (any_is_started(vduse)) {
		order_started(vduse, BLK_ORDER_STOP);
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
		give_order(ring, BLK_ORDER_STOP, NULL);
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
	int error = memory_renew(vduse);

	(void)response;
	if (error)
		return error;
	order_started(vduse, BLK_ORDER_MEMORY);
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

static void message_handle(struct vduse *vduse)
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

/* Returns whether there is one; it is being handled from then on. */
static bool message_read(struct vduse *vduse)
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

static void on_message(struct ev_loop *ev, ev_io *watcher, int revents)
{
	struct vduse *vduse = watcher->data;
	uint64_t features;

	(void)ev;
	(void)revents;
	loop_assert_mine(vduse->main);
	/* An order that no message waits for: a message before its end is the next turn's. */
	if (vduse->orders)
		return;
	if (message_read(vduse)) {
		message_handle(vduse);
		return;
	}
	if (vduse_device_features(&vduse->device, &features) == 0)
		return;
	log_error("%s: the kernel has given the device up: a message was not answered in time",
		vduse->device.name);
	vduse_fail(vduse);
}

/* -- the end ------------------------------------------------------------------------------------------------------ */

static void vduse_free(struct vduse *vduse)
{
	for (unsigned i = 0; i < vduse->ring_count; i++) {
		close_fd(&vduse->rings[i].kick);
		blk_queue_free(vduse->rings[i].queue);
	}
	free(vduse->rings);
	inflight_free(vduse->inflight);
	guest_memory_put(vduse->memory);
	vduse_device_close(&vduse->device);
	free(vduse);
}

static void finish_stop(struct mail *mail)
{
	struct vduse *vduse = container_of(mail, struct vduse, on_stop);
	void (*stopped)(void *arg) = vduse->stopped;
	void *arg = vduse->stopped_arg;
	int error;

	if (vduse->removed) {
		vduse_record_remove(vduse->device.name);
		error = vduse_device_destroy(&vduse->device);
		if (error)
			log_warning(
				"%s: cannot destroy the device: %s", vduse->device.name, strerror(-error));
	}
	vduse_free(vduse);
	stopped(arg);
}

/* Again whenever no order waits. */
static void end_step(struct vduse *vduse)
{
	if (vduse->orders)
		return;
	order_started(vduse, BLK_ORDER_STOP);
	if (vduse->orders)
		return;
	vduse->on_stop.read = finish_stop;
	loop_post(vduse->main, &vduse->on_stop);
}

static void end_begin(struct vduse *vduse)
{
	vduse->life = VDUSE_ENDING;
	/* What is unanswered the kernel keeps for our successor. */
	ev_io_stop(vduse->main->ev, &vduse->on_message);
	end_step(vduse);
}

static void settled(struct vduse *vduse)
{
	if (vduse->life == VDUSE_ENDING)
		end_step(vduse);
	else if (vduse->waiting && vduse->again && !vduse->order_error)
		message_handle(vduse);
	else if (vduse->waiting)
		message_done(vduse, &(struct vduse_dev_response){ 0 }, vduse->order_error);
}

/* -- on the bus and off it ---------------------------------------------------------------------------------------- */

static void detach_begin(struct vduse *vduse);

static void tell_disk(const struct vduse *vduse, const char *what)
{
	char disk[64];

	if (vdpa_bus_disk(vduse->device.name, disk, sizeof(disk)) == 0)
		log_info("%s: %s as %s", vduse->device.name, what, disk);
	else
		log_warning("%s: %s, but no driver has made a disk of it: is virtio-vdpa there? modprobe "
			    "virtio-vdpa",
			vduse->device.name, what);
}

static void attached(struct vduse *vduse, int error)
{
	vduse->life = VDUSE_SERVING;
	if (error == 0 || error == -EEXIST) {
		tell_disk(vduse, "attached");
		return;
	}
	log_error("%s: the kernel does not take the device: %s%s", vduse->device.name, strerror(-error),
		error == -EPERM ? " (that takes CAP_NET_ADMIN)" : "");
	vduse->removed = true;
	vduse_fail(vduse);
}

static void detached(struct vduse *vduse, int error)
{
	vduse->removed = error == 0 || error == -ENODEV;
	if (error == -EBUSY)
		log_warning("%s: the disk is in use and stays: it waits until vnbd-client serves %s again",
			vduse->device.name, vduse->device.name);
	else if (!vduse->removed)
		log_warning("%s: the disk stays, the kernel does not remove it: %s", vduse->device.name,
			strerror(-error));
	end_begin(vduse);
}

static void on_bus(struct ev_loop *ev, ev_io *watcher, int revents)
{
	struct vduse *vduse = watcher->data;
	int error;

	(void)revents;
	ev_io_stop(ev, watcher);
	error = vdpa_bus_end(watcher->fd);
	if (vduse->life == VDUSE_DETACHING) {
		detached(vduse, error);
		return;
	}
	attached(vduse, error);
	if (vduse->stopping)
		detach_begin(vduse);
}

static int bus_change(struct vduse *vduse, enum vdpa_bus_change change)
{
	int task = vdpa_bus_begin(change, vduse->device.name);

	if (task < 0)
		return task;
	ev_io_set(&vduse->on_bus, task, EV_READ);
	ev_io_start(vduse->main->ev, &vduse->on_bus);
	return 0;
}

static void detach_begin(struct vduse *vduse)
{
	int error;

	/* A device that the kernel has given up does not answer it either. */
	if (vduse->refused) {
		end_begin(vduse);
		return;
	}
	vduse->life = VDUSE_DETACHING;
	error = bus_change(vduse, VDPA_BUS_REMOVE);
	if (error)
		detached(vduse, error);
}

void vduse_resize(struct vduse *vduse, uint64_t bytes)
{
	int error;

	loop_assert_mine(vduse->main);
	if (!virtio_blk_resize(&vduse->blk, bytes))
		return;
	error = vduse_device_renew_space(&vduse->device, &vduse->blk);
	if (error)
		log_warning("%s: cannot tell the driver of the disk's new size: %s", vduse->device.name,
			strerror(-error));
}

void vduse_stop(struct vduse *vduse, void (*stopped)(void *arg), void *arg)
{
	loop_assert_mine(vduse->main);
	assert(!vduse->stopping);
	vduse->stopping = true;
	vduse->stopped = stopped;
	vduse->stopped_arg = arg;
	if (vduse->life == VDUSE_SERVING)
		detach_begin(vduse);
}

/* -- the beginning ------------------------------------------------------------------------------------------------ */

bool vduse_name_is_valid(const char *name)
{
	size_t length = strlen(name);

	if (length == 0 || length > VDUSE_NAME_LENGTH_MAX || *name == '.' || !strcmp(name, "control"))
		return false;
	for (; *name; name++) {
		if (!isalnum((unsigned char)*name) && !strchr("-_.", *name))
			return false;
	}
	return true;
}

/* Returns -1, for the caller to return. */
static int because(char why[VDUSE_WHY_SIZE], const char *what, int error)
{
	snprintf(why, VDUSE_WHY_SIZE, "%s: %s", what, strerror(-error));
	return -1;
}

static const char *predecessor_fault(struct vduse *vduse)
{
	struct vring_setup ring;
	uint64_t features;

	if (vduse_device_features(&vduse->device, &features))
		return "the kernel has given it up";
	if (vduse_device_ring(&vduse->device, vduse->ring_count - 1, features, &ring) < 0 ||
		vduse_device_ring(&vduse->device, vduse->ring_count, features, &ring) >= 0)
		return "it has another number of queues";
	if (features & ~vduse_features_offered(&vduse->blk))
		return "its driver uses abilities that the disk no longer has";
	return NULL;
}

/* D2: where the status is about to change, that message says whether the rings are to be started. */
static void take_up_rings(struct vduse *vduse)
{
	bool status = message_read(vduse) && vduse->request.type == VDUSE_SET_STATUS;

	if (!status && rings_start(vduse))
		vduse_fail(vduse);
	if (vduse->waiting && !vduse->orders)
		message_handle(vduse);
}

static int device_take_up(struct vduse *vduse, char why[VDUSE_WHY_SIZE])
{
	const char *fault = predecessor_fault(vduse), *record;
	int error;

	if (fault) {
		snprintf(why, VDUSE_WHY_SIZE,
			"the VDUSE device %s of an earlier process cannot be taken up: %s; to remove it, "
			"with its "
			"disk: vdpa dev del %s",
			vduse->device.name, fault, vduse->device.name);
		return -1;
	}
	error = vduse_record_open(
		vduse->device.name, vduse->ring_count, VDUSE_RING_SIZE, true, &vduse->inflight, &record);
	if (error) {
		snprintf(why, VDUSE_WHY_SIZE,
			"the VDUSE device %s of an earlier process cannot be taken up: %s: %s; to remove it, "
			"with "
			"its disk: vdpa dev del %s",
			vduse->device.name, record, strerror(-error), vduse->device.name);
		return -1;
	}
	error = vduse_device_renew_space(&vduse->device, &vduse->blk);
	if (error)
		return because(why, "the VDUSE device of an earlier process", error);
	take_up_rings(vduse);
	vduse->life = VDUSE_SERVING;
	tell_disk(vduse, "taken up again");
	return 0;
}

static int device_begin(struct vduse *vduse, char why[VDUSE_WHY_SIZE])
{
	const char *record;
	int error = vduse_record_open(
		vduse->device.name, vduse->ring_count, VDUSE_RING_SIZE, false, &vduse->inflight, &record);

	if (error)
		return because(why, record, error);
	vduse->life = VDUSE_ATTACHING;
	error = bus_change(vduse, VDPA_BUS_ADD);
	return error ? because(why, "the kernel's vDPA bus", error) : 0;
}

static int vduse_begin(struct vduse *vduse, char why[VDUSE_WHY_SIZE])
{
	int found = vduse_device_open(&vduse->device, &vduse->blk, vduse->ring_count, why);

	if (found < 0)
		return -1;
	ev_io_set(&vduse->on_message, vduse->device.fd, EV_READ);
	if (found)
		return device_take_up(vduse, why);
	if (device_begin(vduse, why) == 0)
		return 0;
	vduse_device_destroy(&vduse->device);
	vduse_record_remove(vduse->device.name);
	return -1;
}

static int rings_new(
	struct vduse *vduse, const struct queue_thread *threads, unsigned thread_count, unsigned count)
{
	vduse->rings = calloc(count, sizeof(vduse->rings[0]));
	if (!vduse->rings)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		struct vduse_ring *ring = &vduse->rings[i];

		ring->vduse = vduse;
		ring->kick = -1;
		ring->queue = blk_queue_new(&vduse->blk, vduse->main, &threads[i % thread_count], i);
		if (!ring->queue)
			return -ENOMEM;
		vduse->ring_count++;
	}
	return 0;
}

int vduse_new(struct loop *main, const char *name, const struct virtio_blk_config *config,
	const struct queue_thread *threads, unsigned thread_count, void (*failed)(void *arg), void *arg,
	struct vduse **out, char why[VDUSE_WHY_SIZE])
{
	struct vduse *vduse = calloc(1, sizeof(*vduse));
	int error;

	if (!vduse)
		return because(why, name, -ENOMEM);
	assert(vduse_name_is_valid(name));
	vduse_device_init(&vduse->device, name);
	vduse->main = main;
	vduse->failed = failed;
	vduse->failed_arg = arg;
	ev_init(&vduse->on_message, on_message);
	ev_init(&vduse->on_bus, on_bus);
	vduse->on_message.data = vduse->on_bus.data = vduse;
	error = virtio_blk_init(&vduse->blk, config);
	if (!error)
		error = rings_new(vduse, threads, thread_count, config->num_queues);
	if (error || vduse_begin(vduse, why)) {
		if (error)
			because(why, name, error);
		vduse_free(vduse);
		return -1;
	}
	if (!vduse->waiting && !vduse->refused)
		ev_io_start(main->ev, &vduse->on_message);
	*out = vduse;
	return 0;
}
