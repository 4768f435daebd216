/* virtio/vhost_session.c -- a VMM from its first message to its end.
 *
 * V1  A queue has at most one order at a time: messages are handled only when no order waits, a ring's first kick only
 *     before it is started.
 */
#include "virtio/vhost_session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/log.h"
#include "virtio/vhost_message.h"

bool vhost_session_any_started(const struct vhost_session *session)
{
	for (unsigned i = 0; i < session->ring_count; i++) {
		if (session->rings[i].started)
			return true;
	}
	return false;
}

bool vhost_session_order_all(struct vhost_session *session, enum blk_order_kind kind)
{
	for (unsigned i = 0; i < session->ring_count; i++)
		vhost_ring_order(&session->rings[i], kind);
	return session->orders > 0;
}

void vhost_session_tell_config(struct vhost_session *session)
{
	int error;

	/* Spec: "Suspended device state". Nor would all VMMs listen. */
	session->untold = !vhost_session_any_started(session);
	if (session->untold || session->channel < 0 ||
		!(session->protocol_features & VHOST_USER_PROTOCOL_F_CONFIG))
		return;
	error = vhost_tell(session->channel, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	if (error)
		log_debug("cannot tell the VMM of a new configuration: %s", strerror(-error));
}

/* Spec: "the device MUST send a device configuration change notification". */
static void on_ring_broken(void *arg)
{
	struct vhost_session *session = arg;

	session->needs_reset = true;
	if (session->protocol_features & VHOST_USER_PROTOCOL_F_STATUS)
		vhost_session_tell_config(session);
}

int vhost_session_init(struct vhost_session *session, struct virtio_blk *blk, struct loop *main,
	const struct queue_thread *threads, unsigned thread_count, unsigned ring_count)
{
	memset(session, 0, sizeof(*session));
	session->blk = blk;
	session->main = main;
	session->channel = -1;
	session->untold = true;
	session->rings = calloc(ring_count, sizeof(session->rings[0]));
	if (!session->rings)
		return -ENOMEM;
	for (unsigned i = 0; i < ring_count; i++) {
		struct vhost_ring *ring = &session->rings[i];

		if (vhost_ring_init(ring, session, &threads[i % thread_count], i)) {
			vhost_session_fini(session);
			return -ENOMEM;
		}
		blk_queue_on_break(ring->queue, on_ring_broken, session);
		session->ring_count++;
	}
	return 0;
}

static void close_channel(struct vhost_session *session)
{
	if (session->channel >= 0)
		close(session->channel);
	session->channel = -1;
}

void vhost_session_fini(struct vhost_session *session)
{
	assert(!session->orders);
	for (unsigned i = 0; i < session->ring_count; i++)
		vhost_ring_fini(&session->rings[i]);
	free(session->rings);
	close_channel(session);
	inflight_free(session->inflight);
	dirty_log_put(session->log);
	guest_memory_put(session->memory);
}

bool vhost_session_end(struct vhost_session *session)
{
	assert(!session->orders);
	session->ending = true;
	for (unsigned i = 0; i < session->ring_count; i++)
		ev_io_stop(session->main->ev, &session->rings[i].on_first_kick);
	if (vhost_session_order_all(session, BLK_ORDER_STOP))
		return false;
	for (unsigned i = 0; i < session->ring_count; i++)
		vhost_ring_clear(&session->rings[i]);
	guest_memory_put(session->memory);
	session->memory = NULL;
	inflight_free(session->inflight);
	session->inflight = NULL;
	close_channel(session);
	session->untold = true;
	session->needs_reset = session->ending = false;
	session->status = 0;
	dirty_log_put(session->log);
	session->log = NULL;
	session->features = session->protocol_features = 0;
	virtio_blk_reset(session->blk);
	return true;
}
