/* virtio/vduse_state.h -- a VDUSE device inside: what its life (vduse.c), its rings (vduse_rings.c) and the kernel's messages
 * (vduse_messages.c) share. For them alone; everything is on the main loop.
 */
#pragma once

#include "virtio/blk_queue.h"
#include "virtio/inflight.h"
#include "virtio/vduse_device.h"

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

/* -- vduse.c ------------------------------------------------------------------------------------------------------ */

/* vduse_fail() - the kernel does not want the device, or no longer; the log has said why. */
void vduse_fail(struct vduse *vduse);

/* Runs when the last order is answered. */
void vduse_settled(struct vduse *vduse);

/* -- vduse_rings.c ------------------------------------------------------------------------------------------------ */

/* vduse_renew_memory() - what was known of the driver's memory may have changed: ask again. Returns 0 or -ENOMEM. */
int vduse_renew_memory(struct vduse *vduse);

bool vduse_any_started(const struct vduse *vduse);

/* vduse_order_started() - to the queues of all rings that are started. */
void vduse_order_started(struct vduse *vduse, enum blk_order_kind kind);

/* vduse_stop_ring() - it is started. */
void vduse_stop_ring(struct vduse_ring *ring);

/* vduse_start_rings() - those that the driver has made ready. Returns 0; -errno: not all of them, with a line in the log. */
int vduse_start_rings(struct vduse *vduse);

/* -- vduse_messages.c --------------------------------------------------------------------------------------------- */

/* vduse_message_read() - Returns whether there is one; it is being handled from then on. */
bool vduse_message_read(struct vduse *vduse);

/* vduse_message_handle() - the one that was read; no order waits. */
void vduse_message_handle(struct vduse *vduse);

/* vduse_message_go_on() - no order waits any more. */
void vduse_message_go_on(struct vduse *vduse);

/* Of vduse->on_message. */
void vduse_on_message(struct ev_loop *ev, ev_io *watcher, int revents);
