/* virtio/vhost_session.h -- what one VMM has told us: features, memory, rings; and what follows from each message.
 *
 * Knows no socket: vhost_user.c brings messages and sends replies. Everything is on the main loop.
 *
 * A ring is stopped until its first kick, or rather until the first one that finds it set up, and again from
 * GET_VRING_BASE on; a started one is worked on while it is enabled. Spec: vhost-user, "Ring states".
 */
#pragma once

#include "virtio/blk_queue.h"
#include "virtio/inflight.h"
#include "virtio/vhost_message.h"

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

struct vhost_session {
	struct virtio_blk *blk;		      /* borrowed: the transport's */
	struct loop *main;		      /* borrowed */
	uint64_t features, protocol_features; /* negotiated */
	struct guest_memory *memory;	      /* counted; NULL: none told yet */
	struct inflight *inflight;	      /* owned; NULL: nobody keeps our records */
	int channel;			      /* owned: for requests of ours to the VMM; -1: none */
	/* The VMM is to be told of its configuration space when a ring starts: it has changed while none was, or the VMM was
	 * there before us, below a running guest, and may know the size of then. */
	bool untold;
	uint8_t status;		  /* as the driver told it; of ours only whether it may be */
	bool needs_reset;	  /* a ring was broken since the device was reset last */
	struct dirty_log *log;	  /* counted; in use where features and rings say so; NULL: none */
	struct vhost_ring *rings; /* owned */
	unsigned ring_count;
	unsigned orders; /* given to queues and not answered yet */
	int order_error; /* of one of them */
	bool ending;	 /* the VMM is gone, its rings are being stopped */

	/* Set by the owner: runs when the last order is answered, on the main loop. */
	void (*settled)(struct vhost_session *session);
};

/* Returns 0 or -ENOMEM. @threads: copied. */
int vhost_session_init(struct vhost_session *session, struct virtio_blk *blk, struct loop *main,
	const struct queue_thread *threads, unsigned thread_count, unsigned ring_count);

/* Only with no order to be answered and no ring started. */
void vhost_session_fini(struct vhost_session *session);

enum vhost_handled {
	VHOST_DONE,
	VHOST_WAIT,  /* done when settled() comes with no order_error */
	VHOST_AGAIN, /* handle the message again when settled() comes */
};

/* What every request is like. */
struct vhost_request_kind {
	const char *name;
	uint32_t size_min, size_max; /* of the payload, bytes */
	unsigned fds_max;
	/* With the payload as handle() leaves it, header.size bytes, and its descriptors. */
	bool replies;

	/* Returns enum vhost_handled, or -errno: refused, with a constant in @why and nothing changed. */
	int (*handle)(struct vhost_session *session, struct vhost_message *message, const char **why);
};

/* vhost_request_kind() - NULL: there is no such request, or we have not offered it. */
const struct vhost_request_kind *vhost_request_kind(uint32_t request);

/* vhost_session_tell_config() - the configuration space has changed: tell the VMM, where it has given us a channel; as soon
 * as a ring is started. Never waits for it: a channel that is full says the same already. */
void vhost_session_tell_config(struct vhost_session *session);

/* vhost_session_end() - the VMM is gone: stop what is started, forget all it told. Not while orders wait.
 * Returns true: done, the session is as new; false: call again when settled() comes. */
bool vhost_session_end(struct vhost_session *session);
