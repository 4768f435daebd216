/* virtio/vhost_session.h -- what one VMM has told us: features, memory, rings.
 *
 * Knows no socket: vhost_user.c brings messages and sends replies; vhost_requests.h has what follows from each of them.
 * Everything is on the main loop.
 */
#pragma once

#include "virtio/inflight.h"
#include "virtio/vhost_ring.h"

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

/* Whether a ring is at work; else the device is suspended. */
bool vhost_session_any_started(const struct vhost_session *session);

/* vhost_session_order_all() - to the queues of all rings that are started. Returns whether there are orders to be answered.
 */
bool vhost_session_order_all(struct vhost_session *session, enum blk_order_kind kind);

/* vhost_session_tell_config() - the configuration space has changed: tell the VMM, where it has given us a channel; as soon
 * as a ring is started. Never waits for it: a channel that is full says the same already. */
void vhost_session_tell_config(struct vhost_session *session);

/* vhost_session_end() - the VMM is gone: stop what is started, forget all it told. Not while orders wait.
 * Returns true: done, the session is as new; false: call again when settled() comes. */
bool vhost_session_end(struct vhost_session *session);
