/* virtio/vdpa_bus.h -- a VDUSE device on the kernel's vDPA bus, where drivers find it; and the disk it becomes.
 *
 * Adding it, a driver asks the device and reads the disk's first blocks before the kernel answers; so a process of its own
 * does it, and the device has to be served meanwhile. That process has nothing of ours open and outlives us if need be.
 * Spec: Linux, Documentation/userspace-api/vduse.rst, include/uapi/linux/vdpa.h.
 */
#pragma once

#include <stddef.h>

enum vdpa_bus_change {
	VDPA_BUS_ADD,
	VDPA_BUS_REMOVE, /* but not where the disk is in use: mounted, part of another device, or open */
};

/* vdpa_bus_begin() - Returns a descriptor that is readable when it is done, for vdpa_bus_end(); or -errno, as that.
 * The child is waited for by libev's default loop, which this process has. */
int vdpa_bus_begin(enum vdpa_bus_change change, const char *name);

/* vdpa_bus_end() - closes @task. Returns 0; -EBUSY: the disk is in use; -EPERM: that takes CAP_NET_ADMIN; -EEXIST,
 * -ENODEV: it is there, or not there, already; or another -errno of the kernel's. */
int vdpa_bus_end(int task);

/* vdpa_bus_disk() - "/dev/vdX", the disk that a driver has made of the device. Returns 0 or -ENOENT: there is none. */
int vdpa_bus_disk(const char *name, char *out, size_t size);
