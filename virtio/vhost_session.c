/* virtio/vhost_session.c -- the requests of a VMM, one function each, and their table.
 *
 * V1  A queue has at most one order at a time: messages are handled only when no order waits, a ring's first kick only
 *     before it is started.
 * V2  The descriptors a queue works with are the ring's, and are closed after it has let go of them.
 */
#include "virtio/vhost_session.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "conf/container.h"
#include "conf/log.h"

#define PROTOCOL_FEATURES_OFFERED                                                                       \
	(VHOST_USER_PROTOCOL_F_MQ | VHOST_USER_PROTOCOL_F_LOG_SHMFD | VHOST_USER_PROTOCOL_F_REPLY_ACK | \
		VHOST_USER_PROTOCOL_F_CONFIG | VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD |                   \
		VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS | VHOST_USER_PROTOCOL_F_BACKEND_REQ |         \
		VHOST_USER_PROTOCOL_F_RESET_DEVICE | VHOST_USER_PROTOCOL_F_STATUS |                     \
		VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT)

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* In-order is slower than without: a VMM offers it to a guest only if its operator wants it. A single ring is reset by
 * what stops and describes it anew: GET_VRING_BASE, then all of SET_VRING_*. */
static uint64_t features_offered(const struct vhost_session *session)
{
	return session->blk->features | VIRTIO_F_IN_ORDER | VIRTIO_F_RING_RESET |
	       VHOST_USER_F_PROTOCOL_FEATURES | VHOST_F_LOG_ALL;
}

/* The other direction */

static bool any_ring_is_started(const struct vhost_session *session)
{
	for (unsigned i = 0; i < session->ring_count; i++) {
		if (session->rings[i].started)
			return true;
	}
	return false;
}

void vhost_session_tell_config(struct vhost_session *session)
{
	int error;

	/* Spec: "Suspended device state". Nor would all VMMs listen. */
	session->untold = !any_ring_is_started(session);
	if (session->untold || session->channel < 0 ||
		!(session->protocol_features & VHOST_USER_PROTOCOL_F_CONFIG))
		return;
	error = vhost_tell(session->channel, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
	if (error)
		log_debug("cannot tell the VMM of a new configuration: %s", strerror(-error));
}

static int set_backend_req_fd(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	*why = "no descriptor for the channel";
	if (message->fd_count != 1)
		return -EINVAL;
	close_fd(&session->channel);
	session->channel = vhost_message_take_fd(message, 0);
	return VHOST_DONE;
}

/* Orders */

static void ring_end_kicks(struct vhost_ring *ring)
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
		ring_end_kicks(ring);
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

static int order_if_started(struct vhost_ring *ring, enum blk_order_kind kind)
{
	if (!ring->started)
		return VHOST_DONE;
	give_order(ring, kind);
	return VHOST_WAIT;
}

/* The start of a ring */

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

/* A kick starts a ring that is complete, whichever part of it came last; one without kicks is at work from then on. */
static void ring_watch(struct vhost_ring *ring)
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

/* But for whom to call; and for where it was: QEMU 7.2 resets a device whose guest moves away, and then asks from where it has
 * to go on. */
static void ring_forget(struct vhost_ring *ring)
{
	assert(!ring->started);
	ev_io_stop(ring->session->main->ev, &ring->on_first_kick);
	ring_end_kicks(ring);
	ring->size = ring->base = 0;
	ring->addr = (struct vhost_user_vring_addr){ 0 };
	ring->has_addr = ring->enabled = false;
}

static void ring_clear(struct vhost_ring *ring)
{
	ring_forget(ring);
	ring->has_run = false;
	ring->left_at = 0;
	close_fd(&ring->call);
	close_fd(&ring->err);
}

static struct vhost_ring *ring_of(struct vhost_session *session, uint64_t index, const char **why)
{
	*why = "there is no such ring";
	return index < session->ring_count ? &session->rings[index] : NULL;
}

/* Features */

static int get_features(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)why;
	message->payload.u64 = features_offered(session);
	message->header.size = sizeof(uint64_t);
	return VHOST_DONE;
}

static int order_all_started(struct vhost_session *session, enum blk_order_kind kind)
{
	for (unsigned i = 0; i < session->ring_count; i++)
		order_if_started(&session->rings[i], kind);
	return session->orders ? VHOST_WAIT : VHOST_DONE;
}

/* A VMM that begins or ends to migrate sets or clears LOG_ALL while the rings are at work. Spec, "Ring states": "without
 * VHOST_USER_F_PROTOCOL_FEATURES set, the back-end must enable all rings immediately". */
static int set_features(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	const uint64_t at_work = VHOST_F_LOG_ALL | VHOST_USER_F_PROTOCOL_FEATURES;
	uint64_t features = message->payload.u64, changed = session->features ^ features;

	*why = "features that were not offered";
	if (features & ~features_offered(session))
		return -EINVAL;
	session->features = features;
	for (unsigned i = 0; i < session->ring_count; i++)
		session->rings[i].enabled |= !(features & VHOST_USER_F_PROTOCOL_FEATURES);
	return changed & at_work ? order_all_started(session, BLK_ORDER_FEATURES) : VHOST_DONE;
}

static int get_protocol_features(
	struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)session;
	(void)why;
	message->payload.u64 = PROTOCOL_FEATURES_OFFERED;
	message->header.size = sizeof(uint64_t);
	return VHOST_DONE;
}

static int set_protocol_features(
	struct vhost_session *session, struct vhost_message *message, const char **why)
{
	*why = "protocol features that were not offered";
	if (message->payload.u64 & ~PROTOCOL_FEATURES_OFFERED)
		return -EINVAL;
	session->protocol_features = message->payload.u64;
	return VHOST_DONE;
}

/* Reset and status */

/* Memory, log and the descriptors to call by are the VMM's and stay. So does writeback: VMMs remember what the last driver
 * made of it, and tell the next one that, not us. */
static int reset_device(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)message;
	(void)why;
	for (unsigned i = 0; i < session->ring_count; i++)
		order_if_started(&session->rings[i], BLK_ORDER_STOP);
	if (session->orders)
		return VHOST_AGAIN;
	for (unsigned i = 0; i < session->ring_count; i++)
		ring_forget(&session->rings[i]);
	inflight_free(session->inflight);
	session->inflight = NULL;
	session->features = 0;
	session->status = 0;
	session->needs_reset = false;
	return VHOST_DONE;
}

/* Spec: "Driver Requirements: Reserved Feature Bits". */
static bool features_go_together(uint64_t features)
{
	const uint64_t modern = VIRTIO_F_RING_PACKED | VIRTIO_F_IN_ORDER | VIRTIO_F_RING_RESET;

	return (features & VIRTIO_F_VERSION_1) || !(features & modern);
}

/* Spec: "Device Status Field"; a driver that finds FEATURES_OK missing has to give up. */
static int set_status(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	uint64_t status = message->payload.u64;

	*why = "a device status has 8 bits";
	if (status > VIRTIO_STATUS_MAX)
		return -EINVAL;
	if (status == 0)
		return reset_device(session, message, why);
	if (!features_go_together(session->features))
		status &= ~(uint64_t)VIRTIO_STATUS_FEATURES_OK;
	session->status = (uint8_t)(status & ~(uint64_t)VIRTIO_STATUS_NEEDS_RESET);
	return VHOST_DONE;
}

static int get_status(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)why;
	message->payload.u64 = session->status | (session->needs_reset ? VIRTIO_STATUS_NEEDS_RESET : 0);
	message->header.size = sizeof(uint64_t);
	return VHOST_DONE;
}

/* Spec: "the device MUST send a device configuration change notification". */
static void on_ring_broken(void *arg)
{
	struct vhost_session *session = arg;

	session->needs_reset = true;
	if (session->protocol_features & VHOST_USER_PROTOCOL_F_STATUS)
		vhost_session_tell_config(session);
}

/* SET_OWNER begins what a connection begins already; of RESET_OWNER the specification recommends to ignore it. */
static int do_nothing(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)session;
	(void)message;
	(void)why;
	return VHOST_DONE;
}

static int get_queue_num(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)why;
	message->payload.u64 = session->ring_count;
	message->header.size = sizeof(uint64_t);
	return VHOST_DONE;
}

/* Memory */

static struct guest_region region_from(const struct vhost_user_region *region)
{
	return (struct guest_region){
		.guest_address = region->guest_address,
		.size = region->size,
		.user_address = region->user_address,
		.mmap_offset = region->mmap_offset,
	};
}

static int use_memory(struct vhost_session *session, struct guest_memory *memory)
{
	guest_memory_put(session->memory);
	session->memory = memory;
	for (unsigned i = 0; i < session->ring_count; i++)
		ring_watch(&session->rings[i]);
	return order_all_started(session, BLK_ORDER_MEMORY);
}

static int set_mem_table(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	const struct vhost_user_mem_table *table = &message->payload.table;
	struct guest_region regions[VHOST_USER_MEM_TABLE_REGIONS];
	struct guest_memory *memory;
	uint32_t count = table->region_count;
	int error;

	*why = "a table of more than 8 regions, or shorter than its regions";
	if (count > VHOST_USER_MEM_TABLE_REGIONS ||
		message->header.size <
			offsetof(struct vhost_user_mem_table, regions) + count * sizeof(table->regions[0]))
		return -EINVAL;
	*why = "not one descriptor for each region";
	if (message->fd_count != count)
		return -EINVAL;
	for (unsigned i = 0; i < count; i++)
		regions[i] = region_from(&table->regions[i]);
	error = guest_memory_new(regions, message->fds, count, &memory, why);
	return error ? error : use_memory(session, memory);
}

static int get_max_mem_slots(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)session;
	(void)why;
	message->payload.u64 = GUEST_REGIONS_MAX;
	message->header.size = sizeof(uint64_t);
	return VHOST_DONE;
}

static int add_mem_reg(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct guest_region region = region_from(&message->payload.region.region);
	struct guest_memory *memory;
	int error;

	*why = "no descriptor for the region";
	if (message->fd_count != 1)
		return -EINVAL;
	error = guest_memory_with(session->memory, &region, message->fds[0], &memory, why);
	return error ? error : use_memory(session, memory);
}

/* Spec: a descriptor may come along; it is closed unused, as all that nobody takes. */
static int rem_mem_reg(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct guest_region region = region_from(&message->payload.region.region);
	struct guest_memory *memory;
	int error = guest_memory_without(session->memory, &region, &memory, why);

	return error ? error : use_memory(session, memory);
}

/* The log of what we write */

static int use_log(struct vhost_session *session, struct dirty_log *log)
{
	/* Queues that use the old one have references of their own. */
	dirty_log_put(session->log);
	session->log = log;
	return order_all_started(session, BLK_ORDER_FEATURES);
}

/* It is for the VMM to make it large enough; where it did not, damage to the guest's memory would be noticed too late. */
static int set_log_base(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	const struct vhost_user_log area = message->payload.log;
	struct dirty_log *log;
	int error;

	*why = "no descriptor for the log";
	if (message->fd_count != 1)
		return -EINVAL;
	error = dirty_log_new(area.size, area.mmap_offset, message->fds[0], &log, why);
	if (error)
		return error;
	*why = "the log does not reach to the end of the guest's memory";
	if (session->memory && guest_memory_end(session->memory) > dirty_log_reach(log)) {
		dirty_log_put(log);
		return -EINVAL;
	}
	vhost_message_close(message);
	message->payload.u64 = 0;
	message->header.size = sizeof(uint64_t);
	return use_log(session, log);
}

/* Spec: an optional message, with a descriptor that "may be used" to tell that the log has changed. VMMs look by
 * themselves, so it is closed, as all that nobody takes. */
static int set_log_fd(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	(void)session;
	*why = "no descriptor";
	return message->fd_count == 1 ? VHOST_DONE : -EINVAL;
}

/* Rings */

static int set_vring_num(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	const struct vhost_user_vring_state *state = &message->payload.state;
	struct vhost_ring *ring = ring_of(session, state->index, why);

	if (!ring)
		return -EINVAL;
	*why = "a ring size of more than 1024, or no power of two";
	if (!vring_size_is_valid(session->features, state->num))
		return -EINVAL;
	*why = "a new size for a ring that is started";
	if (ring->started && state->num != ring->size)
		return -EBUSY;
	ring->size = state->num;
	ring_watch(ring);
	return VHOST_DONE;
}

static int set_vring_addr(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	const struct vhost_user_vring_addr *addr = &message->payload.addr;
	struct vhost_ring *ring = ring_of(session, addr->index, why);

	if (!ring)
		return -EINVAL;
	*why = "ring flags that were not offered";
	if (addr->flags & ~VHOST_USER_VRING_F_LOG)
		return -EINVAL;
	*why = "new addresses for a ring that is started";
	if (ring->started && (addr->desc != ring->addr.desc || addr->avail != ring->addr.avail ||
				     addr->used != ring->addr.used))
		return -EBUSY;
	ring->addr = *addr;
	ring->has_addr = true;
	ring_watch(ring);
	/* Only how it is logged can be new to a ring that is started. */
	return order_if_started(ring, BLK_ORDER_FEATURES);
}

static int set_vring_base(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	const struct vhost_user_vring_state *state = &message->payload.state;
	struct vhost_ring *ring = ring_of(session, state->index, why);

	if (!ring)
		return -EINVAL;
	*why = "a base beyond the 16 bits of a split ring's";
	if (state->num > UINT16_MAX && !(session->features & VIRTIO_F_RING_PACKED))
		return -EINVAL;
	*why = "a new base for a ring that is started";
	if (ring->started)
		return -EBUSY;
	ring->base = ring->left_at = state->num;
	return VHOST_DONE;
}

static int get_vring_base(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct vhost_ring *ring = ring_of(session, message->payload.state.index, why);

	if (!ring)
		return -EINVAL;
	if (ring->started) {
		give_order(ring, BLK_ORDER_STOP);
		return VHOST_AGAIN;
	}
	/* An old kick must not start it again. */
	ring_end_kicks(ring);
	ring_watch(ring);
	message->payload.state.num = ring->left_at;
	message->header.size = sizeof(message->payload.state);
	return VHOST_DONE;
}

static int set_vring_enable(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	const struct vhost_user_vring_state *state = &message->payload.state;
	struct vhost_ring *ring = ring_of(session, state->index, why);

	if (!ring)
		return -EINVAL;
	*why = "a ring can be enabled by 1 and disabled by 0";
	if (state->num > 1)
		return -EINVAL;
	ring->enabled = state->num;
	return order_if_started(ring, BLK_ORDER_ENABLE);
}

/* Whether a loop can wait for it: a regular file, say, would be ready for ever. */
static bool fd_can_be_watched(int fd)
{
	struct epoll_event event = { .events = EPOLLIN };
	int probe = epoll_create1(EPOLL_CLOEXEC);
	bool can = probe >= 0 && epoll_ctl(probe, EPOLL_CTL_ADD, fd, &event) == 0;

	if (probe >= 0)
		close(probe);
	return can;
}

/* Finds the ring and the descriptor of SET_VRING_KICK, CALL, ERR; @fd is -1 where there is none. */
static int ring_fd_of(struct vhost_session *session, struct vhost_message *message, struct vhost_ring **ring,
	int *fd, const char **why)
{
	uint64_t number = message->payload.u64;
	bool has_none = number & VHOST_USER_VRING_NO_FD;

	*ring = ring_of(session, number & VHOST_USER_VRING_INDEX_MASK, why);
	if (!*ring)
		return -EINVAL;
	*why = "bits beyond ring and descriptor flag";
	if (number & ~(VHOST_USER_VRING_INDEX_MASK | VHOST_USER_VRING_NO_FD))
		return -EINVAL;
	*why = "a descriptor and the flag that there is none, or neither";
	if (message->fd_count != !has_none)
		return -EINVAL;
	*why = "a descriptor that cannot be waited for";
	if (!has_none && !fd_can_be_watched(message->fds[0]))
		return -EINVAL;
	*fd = has_none ? -1 : vhost_message_take_fd(message, 0);
	return 0;
}

/* V2: the old one stays open until the queue has heard of the new one. */
static int replace_fd(struct vhost_ring *ring, int *fd, int new)
{
	assert(ring->retired < 0);
	if (ring->started)
		ring->retired = *fd;
	else
		close_fd(fd);
	*fd = new;
	return order_if_started(ring, BLK_ORDER_FDS);
}

/* A ring that our predecessor served may have nothing new for a kick, only what was in flight then. */
static void kick_if_known(struct vhost_ring *ring)
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

static int set_vring_kick(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct vhost_ring *ring;
	int fd, handled, error = ring_fd_of(session, message, &ring, &fd, why);

	if (error)
		return error;
	/* A read of a kick that someone else has taken must not stop us. */
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	ev_io_stop(session->main->ev, &ring->on_first_kick);
	ring->polled = fd < 0;
	handled = replace_fd(ring, &ring->kick, fd);
	kick_if_known(ring);
	ring_watch(ring);
	return handled;
}

static int set_vring_call(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct vhost_ring *ring;
	int fd, error = ring_fd_of(session, message, &ring, &fd, why);

	return error ? error : replace_fd(ring, &ring->call, fd);
}

static int set_vring_err(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct vhost_ring *ring;
	int fd, error = ring_fd_of(session, message, &ring, &fd, why);

	return error ? error : replace_fd(ring, &ring->err, fd);
}

/* The record of requests in flight */

static struct inflight_area area_from(const struct vhost_user_inflight *inflight)
{
	return (struct inflight_area){
		.size = inflight->mmap_size,
		.offset = inflight->mmap_offset,
		.num_queues = inflight->num_queues,
		.queue_size = inflight->queue_size,
	};
}

/* Not in use before the VMM has given it back, so that it surely has it. */
static int get_inflight_fd(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct vhost_user_inflight *inflight = &message->payload.inflight;
	struct inflight_area area = area_from(inflight);
	int fd;

	*why = "more rings than there are";
	if (area.num_queues > session->ring_count)
		return -EINVAL;
	*why = "no rings, rings of no valid size, or no memory for them";
	fd = inflight_create(session->features, &area);
	if (fd < 0)
		return fd;
	inflight->mmap_size = area.size;
	inflight->mmap_offset = area.offset;
	message->fds[0] = fd;
	message->fd_count = 1;
	return VHOST_DONE;
}

static int set_inflight_fd(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	const struct inflight_area area = area_from(&message->payload.inflight);
	struct inflight *inflight;
	int error;

	*why = "no descriptor for the record";
	if (message->fd_count != 1)
		return -EINVAL;
	*why = "a new record below a ring that is started";
	if (any_ring_is_started(session))
		return -EBUSY;
	error = inflight_map(&area, message->fds[0], &inflight, why);
	if (error)
		return error;
	inflight_free(session->inflight);
	session->inflight = inflight;
	return VHOST_DONE;
}

/* Configuration space */

static bool config_fits(const struct vhost_message *message)
{
	const struct vhost_user_config *config = &message->payload.config;

	return config->size <= VHOST_USER_CONFIG_SIZE_MAX &&
	       config->offset <= VHOST_USER_CONFIG_SIZE_MAX - config->size &&
	       message->header.size == VHOST_USER_CONFIG_HEADER_SIZE + config->size;
}

/* Spec: "zero length of payload to indicate an error". */
static int get_config(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct vhost_user_config *config = &message->payload.config;

	(void)why;
	if (config_fits(message))
		virtio_blk_read_space(
			session->blk, session->features, config->offset, config->bytes, config->size);
	else
		message->header.size = 0;
	return VHOST_DONE;
}

static int set_config(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	const struct vhost_user_config *config = &message->payload.config;

	*why = "a range beyond the configuration space, or not as long as it says";
	if (!config_fits(message))
		return -EINVAL;
	*why = "unknown flags";
	if (config->flags > VHOST_USER_CONFIG_MIGRATION)
		return -EINVAL;
	*why = "of this device drivers may write writeback, and write 0 or 1";
	return virtio_blk_write_space(session->blk, config->offset, config->bytes, config->size,
		config->flags == VHOST_USER_CONFIG_MIGRATION);
}

#define U64    sizeof(uint64_t)
#define STATE  sizeof(struct vhost_user_vring_state)
#define ADDR   sizeof(struct vhost_user_vring_addr)
#define TABLE  offsetof(struct vhost_user_mem_table, regions), sizeof(struct vhost_user_mem_table)
#define REGION sizeof(struct vhost_user_single_region)
#define LOG    sizeof(struct vhost_user_log)
#define CONFIG VHOST_USER_CONFIG_HEADER_SIZE, sizeof(struct vhost_user_config)
#define RECORD VHOST_USER_INFLIGHT_SIZE_MIN, sizeof(struct vhost_user_inflight)

static const struct vhost_request_kind kinds[VHOST_USER_REQUESTS] = {
	[VHOST_USER_GET_FEATURES] = { "GET_FEATURES", 0, 0, 0, true, get_features },
	[VHOST_USER_SET_FEATURES] = { "SET_FEATURES", U64, U64, 0, false, set_features },
	[VHOST_USER_SET_OWNER] = { "SET_OWNER", 0, 0, 0, false, do_nothing },
	[VHOST_USER_RESET_OWNER] = { "RESET_OWNER", 0, 0, 0, false, do_nothing },
	[VHOST_USER_SET_MEM_TABLE] = { "SET_MEM_TABLE", TABLE, VHOST_USER_MEM_TABLE_REGIONS, false,
		set_mem_table },
	[VHOST_USER_SET_LOG_BASE] = { "SET_LOG_BASE", LOG, LOG, 1, true, set_log_base },
	[VHOST_USER_SET_LOG_FD] = { "SET_LOG_FD", 0, U64, 1, false, set_log_fd },
	[VHOST_USER_SET_VRING_NUM] = { "SET_VRING_NUM", STATE, STATE, 0, false, set_vring_num },
	[VHOST_USER_SET_VRING_ADDR] = { "SET_VRING_ADDR", ADDR, ADDR, 0, false, set_vring_addr },
	[VHOST_USER_SET_VRING_BASE] = { "SET_VRING_BASE", STATE, STATE, 0, false, set_vring_base },
	[VHOST_USER_GET_VRING_BASE] = { "GET_VRING_BASE", STATE, STATE, 0, true, get_vring_base },
	[VHOST_USER_SET_VRING_KICK] = { "SET_VRING_KICK", U64, U64, 1, false, set_vring_kick },
	[VHOST_USER_SET_VRING_CALL] = { "SET_VRING_CALL", U64, U64, 1, false, set_vring_call },
	[VHOST_USER_SET_VRING_ERR] = { "SET_VRING_ERR", U64, U64, 1, false, set_vring_err },
	[VHOST_USER_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", 0, 0, 0, true,
		get_protocol_features },
	[VHOST_USER_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", U64, U64, 0, false,
		set_protocol_features },
	[VHOST_USER_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", 0, 0, 0, true, get_queue_num },
	[VHOST_USER_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", STATE, STATE, 0, false, set_vring_enable },
	[VHOST_USER_SET_BACKEND_REQ_FD] = { "SET_BACKEND_REQ_FD", 0, 0, 1, false, set_backend_req_fd },
	[VHOST_USER_GET_CONFIG] = { "GET_CONFIG", CONFIG, 0, true, get_config },
	[VHOST_USER_SET_CONFIG] = { "SET_CONFIG", CONFIG, 0, false, set_config },
	[VHOST_USER_GET_INFLIGHT_FD] = { "GET_INFLIGHT_FD", RECORD, 0, true, get_inflight_fd },
	[VHOST_USER_SET_INFLIGHT_FD] = { "SET_INFLIGHT_FD", RECORD, 1, false, set_inflight_fd },
	[VHOST_USER_RESET_DEVICE] = { "RESET_DEVICE", 0, 0, 0, false, reset_device },
	[VHOST_USER_SET_STATUS] = { "SET_STATUS", U64, U64, 0, false, set_status },
	[VHOST_USER_GET_STATUS] = { "GET_STATUS", 0, 0, 0, true, get_status },
	[VHOST_USER_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", 0, 0, 0, true, get_max_mem_slots },
	[VHOST_USER_ADD_MEM_REG] = { "ADD_MEM_REG", REGION, REGION, 1, false, add_mem_reg },
	[VHOST_USER_REM_MEM_REG] = { "REM_MEM_REG", REGION, REGION, 1, false, rem_mem_reg },
};

const struct vhost_request_kind *vhost_request_kind(uint32_t request)
{
	return request < VHOST_USER_REQUESTS && kinds[request].name ? &kinds[request] : NULL;
}

/* Life */

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

		ring->session = session;
		ring->kick = ring->call = ring->err = ring->retired = -1;
		ev_init(&ring->on_first_kick, on_first_kick);
		ring->on_first_kick.data = ring;
		ring->queue = blk_queue_new(blk, main, &threads[i % thread_count], i);
		if (!ring->queue) {
			vhost_session_fini(session);
			return -ENOMEM;
		}
		blk_queue_on_break(ring->queue, on_ring_broken, session);
		session->ring_count++;
	}
	return 0;
}

void vhost_session_fini(struct vhost_session *session)
{
	assert(!session->orders);
	for (unsigned i = 0; i < session->ring_count; i++) {
		ring_clear(&session->rings[i]);
		blk_queue_free(session->rings[i].queue);
	}
	free(session->rings);
	close_fd(&session->channel);
	inflight_free(session->inflight);
	dirty_log_put(session->log);
	guest_memory_put(session->memory);
}

bool vhost_session_end(struct vhost_session *session)
{
	assert(!session->orders);
	session->ending = true;
	for (unsigned i = 0; i < session->ring_count; i++) {
		ev_io_stop(session->main->ev, &session->rings[i].on_first_kick);
		order_if_started(&session->rings[i], BLK_ORDER_STOP);
	}
	if (session->orders)
		return false;
	for (unsigned i = 0; i < session->ring_count; i++)
		ring_clear(&session->rings[i]);
	guest_memory_put(session->memory);
	session->memory = NULL;
	inflight_free(session->inflight);
	session->inflight = NULL;
	close_fd(&session->channel);
	session->untold = true;
	session->needs_reset = session->ending = false;
	session->status = 0;
	dirty_log_put(session->log);
	session->log = NULL;
	session->features = session->protocol_features = 0;
	virtio_blk_reset(session->blk);
	return true;
}
