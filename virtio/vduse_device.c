/* virtio/vduse_device.c -- ioctls. */
#include "virtio/vduse_device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "conf/container.h"
#include "conf/log.h"
#include "virtio/vduse.h"

#define CONTROL "/dev/vduse/control"

/* What the ring's parts are aligned to: a page, as they are allocated anyway. */
#define RING_ALIGNMENT 4096u

/* Spec: virtio, "Device Types". */
#define VIRTIO_ID_BLOCK 2u

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* -- while it is served ------------------------------------------------------------------------------------------- */

static int find_range(struct guest_memory_source *source, uint64_t guest_address, struct guest_region *region)
{
	struct vduse_device *device = container_of(source, struct vduse_device, memory);
	struct vduse_iotlb_entry entry = { .start = guest_address, .last = guest_address };
	int fd = ioctl(device->fd, VDUSE_IOTLB_GET_FD, &entry);

	if (fd < 0)
		return -errno;
	/* Rings and a request's status are written to; memory that is only to be read (a virtual machine's ROM, say) has
	 * no use here. */
	if (entry.perm != VDUSE_ACCESS_RW) {
		close(fd);
		return -EACCES;
	}
	*region = (struct guest_region){
		.guest_address = entry.start,
		.user_address = entry.start,
		.size = entry.last - entry.start + 1,
		.mmap_offset = entry.offset,
	};
	return fd;
}

uint64_t vduse_features_offered(const struct virtio_blk *blk)
{
	return (blk->features & ~VIRTIO_BLK_F_CONFIG_WCE) | VIRTIO_F_ACCESS_PLATFORM;
}

int vduse_device_features(const struct vduse_device *device, uint64_t *features)
{
	return ioctl(device->fd, VDUSE_DEV_GET_FEATURES, features) < 0 ? -errno : 0;
}

int vduse_device_renew_space(const struct vduse_device *device, struct virtio_blk *blk)
{
	const size_t space = sizeof(struct virtio_blk_space);
	struct vduse_config_data *data = calloc(1, sizeof(*data) + space);
	int error;

	if (!data)
		return -ENOMEM;
	data->length = (__u32)space;
	virtio_blk_read_space(blk, 0, 0, data->buffer, space);
	error = ioctl(device->fd, VDUSE_DEV_SET_CONFIG, data) < 0 ? -errno : 0;
	free(data);
	/* It fails where no driver is there to be told. */
	if (!error && ioctl(device->fd, VDUSE_DEV_INJECT_CONFIG_IRQ) < 0)
		log_debug("%s: no driver to be told of its size", device->name);
	return error;
}

static uint32_t base_of(const struct vduse_vq_info *info, uint64_t features)
{
	if (!(features & VIRTIO_F_RING_PACKED))
		return info->split.avail_index;
	return info->packed.last_avail_idx | (uint32_t)info->packed.last_avail_counter << 15 |
	       (uint32_t)info->packed.last_used_idx << 16 | (uint32_t)info->packed.last_used_counter << 31;
}

int vduse_device_ring(
	const struct vduse_device *device, unsigned index, uint64_t features, struct vring_setup *setup)
{
	struct vduse_vq_info info = { .index = index };

	if (ioctl(device->fd, VDUSE_VQ_GET_INFO, &info) < 0)
		return -errno;
	*setup = (struct vring_setup){
		.features = features,
		.size = info.num,
		.desc = info.desc_addr,
		.avail = info.driver_addr,
		.used = info.device_addr,
		.base = base_of(&info, features),
	};
	return info.ready ? 1 : 0;
}

int vduse_device_kick(const struct vduse_device *device, unsigned index)
{
	struct vduse_vq_eventfd kick = { .index = index, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) };
	int error;

	if (kick.fd < 0)
		return -errno;
	if (ioctl(device->fd, VDUSE_VQ_SETUP_KICKFD, &kick) == 0)
		return kick.fd;
	error = -errno;
	close(kick.fd);
	return error;
}

void vduse_device_call(int fd, unsigned index)
{
	__u32 ring = index;

	/* Without a driver there is nobody to be called. */
	if (ioctl(fd, VDUSE_VQ_INJECT_IRQ, &ring) < 0)
		log_debug("queue %u: its driver cannot be called: %s", index, strerror(errno));
}

/* -- beginning and end -------------------------------------------------------------------------------------------- */

/* Returns -1, for the caller to return. */
static int because(char why[VDUSE_WHY_SIZE], const char *what, int error)
{
	snprintf(why, VDUSE_WHY_SIZE, "%s: %s", what, strerror(-error));
	return -1;
}

static int control_open(struct vduse_device *device, char why[VDUSE_WHY_SIZE])
{
	uint64_t version = VDUSE_API_VERSION;

	device->control = open(CONTROL, O_RDWR | O_CLOEXEC);
	if (device->control < 0 && errno == ENOENT) {
		snprintf(why, VDUSE_WHY_SIZE,
			CONTROL
			" is not there: modprobe -a vduse virtio-vdpa (modules that Debian's kernels have "
			"from Debian 13, Linux 6.12, on)");
		return -1;
	}
	if (device->control < 0)
		return because(why, CONTROL, -errno);
	if (ioctl(device->control, VDUSE_SET_API_VERSION, &version) < 0)
		return because(why, CONTROL ": its version", -errno);
	return 0;
}

static int create(const struct vduse_device *device, struct virtio_blk *blk, unsigned ring_count)
{
	const size_t space = sizeof(struct virtio_blk_space);
	struct vduse_dev_config *config = calloc(1, sizeof(*config) + space);
	int error;

	if (!config)
		return -ENOMEM;
	memcpy(config->name, device->name, sizeof(device->name));
	config->device_id = VIRTIO_ID_BLOCK;
	config->features = vduse_features_offered(blk);
	config->vq_num = ring_count;
	config->vq_align = RING_ALIGNMENT;
	config->config_size = (__u32)space;
	virtio_blk_read_space(blk, 0, 0, config->config, space);
	error = ioctl(device->control, VDUSE_CREATE_DEV, config) < 0 ? -errno : 0;
	free(config);
	return error;
}

int vduse_device_destroy(struct vduse_device *device)
{
	char name[VDUSE_NAME_MAX] = { 0 };

	close_fd(&device->fd);
	memcpy(name, device->name, sizeof(device->name));
	return ioctl(device->control, VDUSE_DESTROY_DEV, name) < 0 ? -errno : 0;
}

/* Returns 1: it was there, and is on the bus or open; 0: it is new; -errno. */
static int find_or_create(struct vduse_device *device, struct virtio_blk *blk, unsigned ring_count)
{
	int error = create(device, blk, ring_count);

	if (error != -EEXIST)
		return error;
	error = vduse_device_destroy(device);
	if (error == -EBUSY)
		return 1;
	return error ? error : create(device, blk, ring_count);
}

static int open_own(struct vduse_device *device, char why[VDUSE_WHY_SIZE])
{
	char path[sizeof("/dev/vduse/") + VDUSE_NAME_LENGTH_MAX];

	snprintf(path, sizeof(path), "/dev/vduse/%s", device->name);
	device->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (device->fd < 0 && errno == EBUSY) {
		snprintf(why, VDUSE_WHY_SIZE, "another process serves the VDUSE device %s", device->name);
		return -1;
	}
	return device->fd < 0 ? because(why, path, -errno) : 0;
}

static int set_up_rings(const struct vduse_device *device, unsigned ring_count)
{
	for (unsigned i = 0; i < ring_count; i++) {
		struct vduse_vq_config config = { .index = i, .max_size = VDUSE_RING_SIZE };

		if (ioctl(device->fd, VDUSE_VQ_SETUP, &config) < 0)
			return -errno;
	}
	return 0;
}

void vduse_device_init(struct vduse_device *device, const char *name)
{
	*device = (struct vduse_device){ .control = -1, .fd = -1, .memory.find = find_range };
	snprintf(device->name, sizeof(device->name), "%s", name);
}

void vduse_device_close(struct vduse_device *device)
{
	close_fd(&device->fd);
	close_fd(&device->control);
}

int vduse_device_open(
	struct vduse_device *device, struct virtio_blk *blk, unsigned ring_count, char why[VDUSE_WHY_SIZE])
{
	int found, error;

	if (control_open(device, why))
		return -1;
	found = find_or_create(device, blk, ring_count);
	if (found < 0)
		return because(why, "the kernel does not make the VDUSE device", found);
	if (open_own(device, why))
		return -1;
	if (found)
		return 1;
	error = set_up_rings(device, ring_count);
	if (!error)
		return 0;
	vduse_device_destroy(device);
	return because(why, "a queue of the VDUSE device", error);
}
