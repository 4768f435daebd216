/* virtio/vhost_ring.h -- one ring as a VMM has described it, and the queue that works on it. For the session alone.
 *
 * A ring is stopped until its first kick, or rather until the first one that finds it set up, and again from
 * GET_VRING_BASE on; a started one is worked on while it is enabled. Spec: vhost-user, "Ring states".
 */
#pragma once

#include "virtio/blk_queue.h"
#include "virtio/vhost_user_wire.h"

struct vhost_session;

struct vhost_ring {
	struct vhost_session *session; /* borrowed: has us in an array */
	struct blk_queue *queue;       /* owned */
	struct blk_queue_order order;  /* to the queue; in use while it is one of session->orders */

	uint32_t size, base; /* size 0: not told yet; base: to start at */
	uint32_t left_at; /* where it was stopped, or told to start at since: what GET_VRING_BASE asks for */
	struct vhost_user_vring_addr addr;
	bool has_addr, enabled, started;
	bool polled;	     /* there is no kick: it starts as soon as it is described */
	bool has_run;	     /* it was started before, in this connection */
	int kick, call, err; /* owned; -1: none */
	int retired;	     /* owned: what the queue is just being told to replace; -1: none */
	ev_io on_first_kick; /* on the main loop, until the ring is started */
};

/* vhost_ring_init() - @ring is all zeroes. Returns 0, or -ENOMEM: it is as before. */
int vhost_ring_init(struct vhost_ring *ring, struct vhost_session *session, const struct queue_thread *thread,
	unsigned index);

/* Only of one that is stopped and has no order to be answered. */
void vhost_ring_fini(struct vhost_ring *ring);

/* vhost_ring_order() - Returns whether it was given: a queue that is not at work has nothing to be told. */
bool vhost_ring_order(struct vhost_ring *ring, enum blk_order_kind kind);

/* vhost_ring_watch() - after each change: a kick starts a ring that is complete, whichever part of it came last; one without
 * kicks is at work from then on. */
void vhost_ring_watch(struct vhost_ring *ring);

/* vhost_ring_replace_fd() - @fd: one of kick, call, err. Returns whether an order was given. */
bool vhost_ring_replace_fd(struct vhost_ring *ring, int *fd, int new);

/* vhost_ring_kick_if_known() - a ring that our predecessor served may have nothing new for a kick, only what was in flight
 * then. It has a kick descriptor. */
void vhost_ring_kick_if_known(struct vhost_ring *ring);

/* vhost_ring_end_kicks() - those of its present descriptor count no more. */
void vhost_ring_end_kicks(struct vhost_ring *ring);

/* vhost_ring_forget() - what it is, but for whom to call; and for where it was: QEMU 7.2 resets a device whose guest moves
 * away, and then asks from where it has to go on. It is stopped. */
void vhost_ring_forget(struct vhost_ring *ring);

/* vhost_ring_clear() - all of it. */
void vhost_ring_clear(struct vhost_ring *ring);
