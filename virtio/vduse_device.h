/* virtio/vduse_device.h -- the files that the kernel's vduse module has for a device: what we ask of them, nothing that
 * waits. Every int is 0 or -errno where nothing else is said.
 *
 * Spec: Linux, include/uapi/linux/vduse.h.
 */
#pragma once

#include <linux/vduse.h>

#include "virtio/guest_memory.h"
#include "virtio/vduse.h"
#include "virtio/virtio_blk.h"
#include "virtio/vring.h"

#define VDUSE_NAME_LENGTH_MAX 64u

struct vduse_device {
	char name[VDUSE_NAME_LENGTH_MAX + 1];
	int control;			   /* owned; -1: none */
	int fd;				   /* owned: the device's own file, not to block; -1: none */
	struct guest_memory_source memory; /* the driver's */
};

/* vduse_device_init() - nothing is open yet; @name: a valid one. */
void vduse_device_init(struct vduse_device *device, const char *name);

/* Closes its files. */
void vduse_device_close(struct vduse_device *device);

/* vduse_device_open() - find the device, or make one of @ring_count rings of VDUSE_RING_SIZE for @blk.
 * Returns 0: it is new, its rings are set up; 1: it was there, left by a process that is gone; -1, and the reason in
 * @why. */
int vduse_device_open(
	struct vduse_device *device, struct virtio_blk *blk, unsigned ring_count, char why[VDUSE_WHY_SIZE]);

/* vduse_device_destroy() - closes its own file before. -EBUSY: it is on the bus. */
int vduse_device_destroy(struct vduse_device *device);

/* What drivers are offered: the configuration space is the kernel's copy, which they can only read. */
uint64_t vduse_features_offered(const struct virtio_blk *blk);

/* As negotiated; -EPERM: the kernel has given the device up. */
int vduse_device_features(const struct vduse_device *device, uint64_t *features);

/* vduse_device_renew_space() - show the driver @blk's configuration space as it is now. */
int vduse_device_renew_space(const struct vduse_device *device, struct virtio_blk *blk);

/* vduse_device_ring() - what a ring is to be set up with. Returns 1; 0: the driver has not made it ready; -errno:
 * -EINVAL: there is no such ring. */
int vduse_device_ring(
	const struct vduse_device *device, unsigned index, uint64_t features, struct vring_setup *setup);

/* vduse_device_kick() - a new eventfd, the caller's, by which the driver kicks; it has been kicked if the driver did
 * while there was none. Returns it, or -errno. */
int vduse_device_kick(const struct vduse_device *device, unsigned index);

/* vduse_device_call() - call the driver; on any thread. @fd: the device's. */
void vduse_device_call(int fd, unsigned index);
