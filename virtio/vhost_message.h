/* virtio/vhost_message.h -- vhost-user messages in and out of a socket that does not block. */
#pragma once

#include <stddef.h>

#include "virtio/vhost_user_wire.h"

#define VHOST_MESSAGE_FDS_MAX VHOST_USER_MEM_TABLE_REGIONS

struct vhost_message {
	struct vhost_user_header header;
	union vhost_user_payload payload;
	int fds[VHOST_MESSAGE_FDS_MAX]; /* owned until taken: -1 then */
	unsigned fd_count;
};

/* The message under way, and how much of it is here. */
struct vhost_receiver {
	int socket; /* borrowed */
	size_t received;
	struct vhost_message message;
};

/* vhost_receive() - go on with the message under way.
 *
 * Returns 1: receiver->message is complete: 0 .. sizeof(payload) bytes of payload, descriptors or none, nothing else
 * checked; the next call begins another, vhost_message_close() comes before it.
 * Returns 0: the rest is not here yet.
 * Returns -ECONNRESET: the VMM has closed; -EPROTO: the stream makes no sense, see @why; -errno of recvmsg(2). */
int vhost_receive(struct vhost_receiver *receiver, const char **why);

/* Closes the descriptors that nobody took. */
void vhost_message_close(struct vhost_message *message);

/* Takes descriptor @index, which is there: the caller's from now on. */
int vhost_message_take_fd(struct vhost_message *message, unsigned index);

/* vhost_reply() - answer @message with the @size first bytes of its payload and the descriptors in it.
 * Returns 0, or -errno of send(2): -EAGAIN: the VMM does not read its replies. */
int vhost_reply(int socket, const struct vhost_message *message, size_t size);

/* vhost_tell() - a request of the back-end's without payload, which asks for no reply, on @channel.
 * Returns 0, or -errno of send(2): -EAGAIN: the channel is full of what the VMM has not read yet. */
int vhost_tell(int channel, uint32_t request);
