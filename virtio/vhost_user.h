/* virtio/vhost_user.h -- the device on a vhost-user socket, for a virtual machine monitor (QEMU, ...).
 *
 * The listening socket outlives VMMs: one at a time is served, the next waits until every request of the last one has
 * ended, so that no old write can undo a newer one.
 *
 * Threads: everything here is called on, and calls back on, the main loop.
 * Spec: QEMU, docs/interop/vhost-user.rst.
 */
#pragma once

#include "virtio/virtio_blk.h"

struct vhost_user;

/* vhost_user_new() - serve a device from now on.
 * @main: borrowed: runs the socket; outlives the device.
 * @listen_fd: a listening Unix stream socket; taken when this succeeds, and set not to block. SIGPIPE is ignored from
 * then on, process-wide.
 * @threads: copied; see struct queue_thread. More threads than queues is allowed, the rest stay idle.
 *
 * Returns 0; -ENOMEM; -EINVAL as virtio_blk_init(), or no thread.
 */
int vhost_user_new(struct loop *main, int listen_fd, const struct virtio_blk_config *config,
	const struct queue_thread *threads, unsigned thread_count, struct vhost_user **out);

/* vhost_user_resize() - the disk below has @bytes now: as virtio_blk_resize(), and a VMM that can be told is told
 * (VHOST_USER_BACKEND_CONFIG_CHANGE_MSG). Others see it when they read the configuration space next. */
void vhost_user_resize(struct vhost_user *vu, uint64_t bytes);

/* vhost_user_stop() - end: listen no more, close the VMM's connection, take no more requests, let those in flight end.
 *
 * Then @stopped runs once, on the main loop, never inside this call; @vu is gone by then. The queue threads have to run
 * until then, and their disks have to complete what they hold: this waits for them without a limit of its own.
 */
void vhost_user_stop(struct vhost_user *vu, void (*stopped)(void *arg), void *arg);
