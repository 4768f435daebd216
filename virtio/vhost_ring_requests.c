/* virtio/vhost_ring_requests.c -- the requests about one ring, a function each. */
#include "virtio/vhost_ring_requests.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "virtio/vhost_session.h"

static int handled(bool ordered)
{
	return ordered ? VHOST_WAIT : VHOST_DONE;
}

static struct vhost_ring *ring_of(struct vhost_session *session, uint64_t index, const char **why)
{
	*why = "there is no such ring";
	return index < session->ring_count ? &session->rings[index] : NULL;
}

int vhost_set_vring_num(struct vhost_session *session, struct vhost_message *message, const char **why)
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
	vhost_ring_watch(ring);
	return VHOST_DONE;
}

int vhost_set_vring_addr(struct vhost_session *session, struct vhost_message *message, const char **why)
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
	vhost_ring_watch(ring);
	/* Only how it is logged can be new to a ring that is started. */
	return handled(vhost_ring_order(ring, BLK_ORDER_FEATURES));
}

int vhost_set_vring_base(struct vhost_session *session, struct vhost_message *message, const char **why)
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

int vhost_get_vring_base(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct vhost_ring *ring = ring_of(session, message->payload.state.index, why);

	if (!ring)
		return -EINVAL;
	if (vhost_ring_order(ring, BLK_ORDER_STOP))
		return VHOST_AGAIN;
	/* An old kick must not start it again. */
	vhost_ring_end_kicks(ring);
	vhost_ring_watch(ring);
	message->payload.state.num = ring->left_at;
	message->header.size = sizeof(message->payload.state);
	return VHOST_DONE;
}

int vhost_set_vring_enable(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	const struct vhost_user_vring_state *state = &message->payload.state;
	struct vhost_ring *ring = ring_of(session, state->index, why);

	if (!ring)
		return -EINVAL;
	*why = "a ring can be enabled by 1 and disabled by 0";
	if (state->num > 1)
		return -EINVAL;
	ring->enabled = state->num;
	return handled(vhost_ring_order(ring, BLK_ORDER_ENABLE));
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

int vhost_set_vring_kick(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct vhost_ring *ring;
	int fd, error = ring_fd_of(session, message, &ring, &fd, why);
	bool ordered;

	if (error)
		return error;
	/* A read of a kick that someone else has taken must not stop us. */
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	ev_io_stop(session->main->ev, &ring->on_first_kick);
	ring->polled = fd < 0;
	ordered = vhost_ring_replace_fd(ring, &ring->kick, fd);
	vhost_ring_kick_if_known(ring);
	vhost_ring_watch(ring);
	return handled(ordered);
}

int vhost_set_vring_call(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct vhost_ring *ring;
	int fd, error = ring_fd_of(session, message, &ring, &fd, why);

	return error ? error : handled(vhost_ring_replace_fd(ring, &ring->call, fd));
}

int vhost_set_vring_err(struct vhost_session *session, struct vhost_message *message, const char **why)
{
	struct vhost_ring *ring;
	int fd, error = ring_fd_of(session, message, &ring, &fd, why);

	return error ? error : handled(vhost_ring_replace_fd(ring, &ring->err, fd));
}
