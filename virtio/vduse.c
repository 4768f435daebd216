/* virtio/vduse.c -- the life of the device: on the bus, and off it.
 *
 *   ATTACHING --attached--> SERVING --stop--> DETACHING --gone or in use--> ENDING --rings stopped--> (free)
 *       |                      |                                               ^
 *       +-- refused ---------- + -- given up by the kernel, then stop ---------+
 *
 * Messages are answered in all but the last: the kernel's driver talks to the device while it is attached and detached.
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
#include "virtio/vdpa_bus.h"
#include "virtio/vduse_record.h"
#include "virtio/vduse_state.h"

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

void vduse_fail(struct vduse *vduse)
{
	if (vduse->refused)
		return;
	vduse->refused = true;
	ev_io_stop(vduse->main->ev, &vduse->on_message);
	vduse->on_failed.read = post_failed;
	loop_post(vduse->main, &vduse->on_failed);
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
	vduse_order_started(vduse, BLK_ORDER_STOP);
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

void vduse_settled(struct vduse *vduse)
{
	if (vduse->life == VDUSE_ENDING)
		end_step(vduse);
	else
		vduse_message_go_on(vduse);
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
	bool status = vduse_message_read(vduse) && vduse->request.type == VDUSE_SET_STATUS;

	if (!status && vduse_start_rings(vduse))
		vduse_fail(vduse);
	if (vduse->waiting && !vduse->orders)
		vduse_message_handle(vduse);
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
	ev_init(&vduse->on_message, vduse_on_message);
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
