/* virtio/vhost_ring_requests.h -- the requests about one ring, for the table of all: as struct vhost_request_kind's handle(). */
#pragma once

#include "virtio/vhost_requests.h"

int vhost_set_vring_num(struct vhost_session *session, struct vhost_message *message, const char **why);
int vhost_set_vring_addr(struct vhost_session *session, struct vhost_message *message, const char **why);
int vhost_set_vring_base(struct vhost_session *session, struct vhost_message *message, const char **why);
int vhost_get_vring_base(struct vhost_session *session, struct vhost_message *message, const char **why);
int vhost_set_vring_enable(struct vhost_session *session, struct vhost_message *message, const char **why);
int vhost_set_vring_kick(struct vhost_session *session, struct vhost_message *message, const char **why);
int vhost_set_vring_call(struct vhost_session *session, struct vhost_message *message, const char **why);
int vhost_set_vring_err(struct vhost_session *session, struct vhost_message *message, const char **why);
