/* virtio/vhost_message.c -- header, payload and descriptors, in as many pieces as they come. */
#include "virtio/vhost_message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

union fds_room {
	struct cmsghdr align;
	char room[CMSG_SPACE(sizeof(int) * VHOST_MESSAGE_FDS_MAX)];
};

/* Takes the descriptors that came along; those there is no room for are closed, by us or the kernel. */
static int collect_fds(struct vhost_message *message, struct msghdr *header, const char **why)
{
	int error = header->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (message->fd_count < VHOST_MESSAGE_FDS_MAX) {
				message->fds[message->fd_count++] = fd;
				continue;
			}
			close(fd);
			error = -EPROTO;
		}
	}
	if (error)
		*why = "more descriptors than any message has";
	return error;
}

static int receive_some(struct vhost_receiver *receiver, void *to, size_t length, const char **why)
{
	union fds_room control;
	struct iovec iov = { to, length };
	struct msghdr header = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t got = recvmsg(receiver->socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*why = "recvmsg";
	if (got < 0)
		return -errno;
	if (got == 0)
		return -ECONNRESET;
	receiver->received += (size_t)got;
	return collect_fds(&receiver->message, &header, why);
}

static int check_header(const struct vhost_user_header *header, const char **why)
{
	*why = NULL;
	if ((header->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION)
		*why = "a message of another version than 1";
	else if (header->flags & VHOST_USER_REPLY)
		*why = "a reply to nothing";
	else if (header->size > sizeof(union vhost_user_payload))
		*why = "a message longer than any we know";
	return *why ? -EPROTO : 0;
}

int vhost_receive(struct vhost_receiver *receiver, const char **why)
{
	struct vhost_message *message = &receiver->message;
	const size_t header_size = sizeof(message->header);
	int error = 0;

	while (!error) {
		size_t received = receiver->received;

		if (received < header_size) {
			error = receive_some(
				receiver, (char *)&message->header + received, header_size - received, why);
			continue;
		}
		error = check_header(&message->header, why);
		if (error)
			return error;
		received -= header_size;
		if (received == message->header.size) {
			receiver->received = 0;
			return 1;
		}
		error = receive_some(
			receiver, (char *)&message->payload + received, message->header.size - received, why);
	}
	return error == -EAGAIN || error == -EINTR ? 0 : error;
}

void vhost_message_close(struct vhost_message *message)
{
	for (unsigned i = 0; i < message->fd_count; i++) {
		if (message->fds[i] >= 0)
			close(message->fds[i]);
	}
	message->fd_count = 0;
}

int vhost_message_take_fd(struct vhost_message *message, unsigned index)
{
	int fd = message->fds[index];

	message->fds[index] = -1;
	return fd;
}

static void attach_fds(struct msghdr *header, union fds_room *control, const struct vhost_message *message)
{
	size_t length = sizeof(int) * message->fd_count;
	struct cmsghdr *c;

	memset(control, 0, sizeof(*control));
	header->msg_control = control;
	header->msg_controllen = CMSG_SPACE(length);
	c = CMSG_FIRSTHDR(header);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(length);
	memcpy(CMSG_DATA(c), message->fds, length);
}

int vhost_reply(int socket, const struct vhost_message *message, size_t size)
{
	struct vhost_user_header header = {
		.request = message->header.request,
		.flags = VHOST_USER_VERSION | VHOST_USER_REPLY,
		.size = (uint32_t)size,
	};
	struct iovec iov[] = { { &header, sizeof(header) }, { (void *)&message->payload, size } };
	struct msghdr out = { .msg_iov = iov, .msg_iovlen = 2 };
	union fds_room control;
	ssize_t sent;

	if (message->fd_count)
		attach_fds(&out, &control, message);
	sent = sendmsg(socket, &out, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0)
		return -errno;
	/* A Unix socket sends a small message whole or not at all, but for a full buffer. */
	return (size_t)sent == sizeof(header) + size ? 0 : -EAGAIN;
}

int vhost_tell(int channel, uint32_t request)
{
	const struct vhost_user_header header = { .request = request, .flags = VHOST_USER_VERSION };
	ssize_t sent = send(channel, &header, sizeof(header), MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0)
		return -errno;
	return (size_t)sent == sizeof(header) ? 0 : -EAGAIN;
}
