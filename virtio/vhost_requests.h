/* virtio/vhost_requests.h -- every request of a VMM: what it is like, and what is to be done. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virtio/vhost_message.h"

struct vhost_session;

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
