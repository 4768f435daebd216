/* virtio/vduse.h -- the device attached to this host's own kernel, which makes a disk of it: /dev/vdX.
 *
 * The kernel's vduse module shows us a ring's memory and passes on what the driver says to the device; its virtio-vdpa
 * module lets the usual virtio-blk driver take the device. The driver's memory is not the host's: requests are copied
 * through buffers that the kernel shares with us, found when they are first named (struct guest_memory_source).
 *
 * A device that its process has left, killed or because its disk was in use, waits: the next vduse_new() of the same
 * name takes it up again, runs what was in flight once more, and its driver notices nothing but a pause. A record of
 * what is in flight is kept for that in VDUSE_RECORDS/NAME.
 *
 * Threads: everything here is called on, and calls back on, the main loop.
 * Spec: Linux, Documentation/userspace-api/vduse.rst, include/uapi/linux/vduse.h.
 */
#pragma once

#include "virtio/virtio_blk.h"

/* On a file system that does not survive the kernel, as the device does not. */
#define VDUSE_RECORDS "/run/vnbd-vduse"

/* Entries of each ring: with indirect descriptors as many requests; the kernel has buffers of 64 MiB for all of them. */
#define VDUSE_RING_SIZE 256u

/* Room for the longest reason. */
#define VDUSE_WHY_SIZE 512

struct vduse;

/* Whether it can be the name of a device: up to 64 letters, digits, '-', '_' and '.', not a dot at first; not
 * "control", which the kernel has. */
bool vduse_name_is_valid(const char *name);

/* vduse_new() - make the device @name, or take up again the one that a dead process left, and serve it from now on.
 * @main: borrowed: runs the device; outlives it. @threads: copied; see struct queue_thread.
 * @failed: runs, at most once, on the main loop, never inside this call, when the kernel does not want the device, or
 * wants it no longer; the log says why. vduse_stop() has to follow.
 *
 * Returns 0: the log will say when the disk is there, and what it is called. Or -1, and the reason in @why.
 */
int vduse_new(struct loop *main, const char *name, const struct virtio_blk_config *config,
	const struct queue_thread *threads, unsigned thread_count, void (*failed)(void *arg), void *arg,
	struct vduse **out, char why[VDUSE_WHY_SIZE]);

/* vduse_resize() - the disk below has @bytes now: as virtio_blk_resize(), and the driver is told. */
void vduse_resize(struct vduse *vduse, uint64_t bytes);

/* vduse_stop() - end: take the disk away, unless it is in use; take no more requests, let those in flight end.
 * A disk that is in use stays, and its requests wait for the next vduse_new().
 *
 * Then @stopped runs once, on the main loop, never inside this call; @vduse is gone by then. The queue threads have to
 * run until then, and their disks have to complete what they hold: this waits for them without a limit of its own.
 */
void vduse_stop(struct vduse *vduse, void (*stopped)(void *arg), void *arg);
