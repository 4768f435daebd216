/* virtio/vhost_ring.c -- orders to a ring's queue, its start, and its descriptors.
 *
 * R1  A queue has at most one order at a time (V1); a ring's first kick counts only before it is started.
 * R2  The descriptors a queue works with are the ring's, and are closed after it has let go of them.
 */
#include "virtio/vhost_ring.h"

#include <assert.h>
#include <string.h>
#include <unistd.h>

#include "conf/container.h"
#include "conf/log.h"
#include "virtio/vhost_session.h"

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* -- orders ------------------------------------------------------------------------------------------------------- */

void vhost_ring_end_kicks(struct vhost_ring *ring)
{
	close_fd(&ring->kick);
	ring->polled = false;
}

static void order_answered(struct blk_queue_order *order)
{
	struct vhost_ring *ring = container_of(order, struct vhost_ring, order);
	struct vhost_session *session = ring->session;

	loop_assert_mine(session->main);
	close_fd(&ring->retired);
	if (order->result) {
		log_error("queue %u: out of memory", (unsigned)(ring - session->rings));
		session->order_error = order->result;
	}
	if (order->kind == BLK_ORDER_START) {
		ring->started = order->result == 0;
		if (session->untold)
			vhost_session_tell_config(session);
	}
	if (order->kind == BLK_ORDER_STOP) {
		ring->started = false;
		ring->base = ring->left_at = order->base;
		vhost_ring_end_kicks(ring);
	}
	if (--session->orders == 0)
		session->settled(session);
}

static bool ring_is_enabled(const struct vhost_ring *ring)
{
	/* Without the feature nobody will enable it: it starts enabled. */
	return ring->enabled || !(ring->session->features & VHOST_USER_F_PROTOCOL_FEATURES);
}

/* Whether a stop may leave requests to the record. Spec: GET_VRING_BASE. A VMM that is gone has the record, or is not
 * interested in what its guest had asked. */
static bool stop_leaves(const struct vhost_session *session)
{
	return session->ending ||
	       (session->protocol_features & VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT);
}

static void give_order(struct vhost_ring *ring, enum blk_order_kind kind)
{
	struct vhost_session *session = ring->session;

	if (session->orders++ == 0)
		session->order_error = 0;
	ring->order = (struct blk_queue_order){
		.queue = ring->queue,
		.kind = kind,
		.memory = session->memory,
		.kick = ring->kick,
		.polls = ring->polled,
		.call = ring->call,
		.err = ring->err,
		.enabled = ring_is_enabled(ring),
		.leave = stop_leaves(session),
		.done = order_answered,
		.log = {
			.dirty = session->log,
			.data = session->features & VHOST_F_LOG_ALL,
			.ring = ring->addr.flags & VHOST_USER_VRING_F_LOG,
			.used = ring->addr.log,
		},
		.setup = {
			.features = session->features,
			.size = ring->size,
			.desc = ring->addr.desc,
			.avail = ring->addr.avail,
			.used = ring->addr.used,
			.base = ring->base,
		},
	};
	if (session->inflight)
		ring->order.setup.record = inflight_record(session->inflight, session->features,
			(unsigned)(ring - session->rings), &ring->order.setup.record_bytes);
	blk_queue_give_order(&ring->order);
}

bool vhost_ring_order(struct vhost_ring *ring, enum blk_order_kind kind)
{
	if (ring->started)
		give_order(ring, kind);
	return ring->started;
}

/* -- the start ---------------------------------------------------------------------------------------------------- */

static bool is_zero(const void *bytes, size_t size)
{
	static const char zeroes[16];

	return !bytes || memcmp(bytes, zeroes, size) == 0;
}

/* Whether nobody has worked on it yet. Places come round, so the part is looked at that is written last in a lap: of a
 * packed ring the last descriptor, of a split one the used ring's last element. */
static bool ring_is_new(const struct vhost_ring *ring)
{
	const struct vhost_session *session = ring->session;
	const struct vhost_user_vring_addr *addr = &ring->addr;
	uint64_t last = ring->size - 1;

	if (session->features & VIRTIO_F_RING_PACKED)
		return ((ring->base & UINT16_MAX) == VRING_PACKED_START || ring->base == 0) &&
		       is_zero(guest_memory_at_user(session->memory, addr->desc + 16 * last, 16), 16);
	return ring->base == 0 &&
	       is_zero(guest_memory_at_user(session->memory, addr->used + 4 + 8 * last, 8), 8);
}

static void ring_start(struct vhost_ring *ring)
{
	virtio_blk_begin(ring->session->blk, ring->has_run || ring_is_new(ring));
	ring->has_run = true;
	give_order(ring, BLK_ORDER_START);
}

static void on_first_kick(struct ev_loop *ev, ev_io *watcher, int revents)
{
	struct vhost_ring *ring = watcher->data;

	/* The kick itself stays in its descriptor: the queue will find it. */
	(void)revents;
	ev_io_stop(ev, watcher);
	ring_start(ring);
}

void vhost_ring_watch(struct vhost_ring *ring)
{
	struct vhost_session *session = ring->session;
	bool complete = (ring->kick >= 0 || ring->polled) && ring->size && ring->has_addr && session->memory;

	if (ring->started)
		return;
	ev_io_stop(session->main->ev, &ring->on_first_kick);
	if (!complete)
		return;
	if (ring->polled) {
		ring_start(ring);
		return;
	}
	ev_io_set(&ring->on_first_kick, ring->kick, EV_READ);
	ev_io_start(session->main->ev, &ring->on_first_kick);
}

/* A ring that our predecessor served may have nothing new for a kick, only what was in flight then. */
void vhost_ring_kick_if_known(struct vhost_ring *ring)
{
	const struct vhost_session *session = ring->session;
	const uint64_t one = 1;
	uint64_t bytes;
	const void *record;

	if (ring->started || ring->polled || !session->inflight)
		return;
	record = inflight_record(
		session->inflight, session->features, (unsigned)(ring - session->rings), &bytes);
	if (bytes && vring_record_is_known(record) && write(ring->kick, &one, sizeof(one)) < 0)
		log_debug("cannot kick a ring that was at work before: %s", strerror(errno));
}

/* -- descriptors --------------------------------------------------------------------------------------------------- */

/* R2: the old one stays open until the queue has heard of the new one. */
bool vhost_ring_replace_fd(struct vhost_ring *ring, int *fd, int new)
{
	assert(ring->retired < 0);
	if (ring->started)
		ring->retired = *fd;
	else
		close_fd(fd);
	*fd = new;
	return vhost_ring_order(ring, BLK_ORDER_FDS);
}

/* -- life --------------------------------------------------------------------------------------------------------- */

int vhost_ring_init(struct vhost_ring *ring, struct vhost_session *session, const struct queue_thread *thread,
	unsigned index)
{
	ring->session = session;
	ring->kick = ring->call = ring->err = ring->retired = -1;
	ev_init(&ring->on_first_kick, on_first_kick);
	ring->on_first_kick.data = ring;
	ring->queue = blk_queue_new(session->blk, session->main, thread, index);
	return ring->queue ? 0 : -ENOMEM;
}

void vhost_ring_forget(struct vhost_ring *ring)
{
	assert(!ring->started);
	ev_io_stop(ring->session->main->ev, &ring->on_first_kick);
	vhost_ring_end_kicks(ring);
	ring->size = ring->base = 0;
	ring->addr = (struct vhost_user_vring_addr){ 0 };
	ring->has_addr = ring->enabled = false;
}

void vhost_ring_clear(struct vhost_ring *ring)
{
	vhost_ring_forget(ring);
	ring->has_run = false;
	ring->left_at = 0;
	close_fd(&ring->call);
	close_fd(&ring->err);
}

void vhost_ring_fini(struct vhost_ring *ring)
{
	vhost_ring_clear(ring);
	blk_queue_free(ring->queue);
}
