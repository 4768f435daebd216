/* tests/unit/split_driver.h -- the driver's side of one split ring, in a memfd that stands for the guest's memory. */
#pragma once

#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "virtio/virtio_blk_wire.h"
#include "virtio/vring.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

/* Two regions that touch in guest addresses but not in the VMM's, nor in ours. */
#define DRIVER_GUEST  0x100000ull
#define DRIVER_USER   0x7f0000000000ull
#define DRIVER_REGION (1ull << 20)

/* Where things are in the first region; the rest of both is for buffers. */
enum { AT_DESC = 0, AT_AVAIL = 0x8000, AT_USED = 0xa000, AT_TABLE = 0x10000, AT_DATA = 0x20000 };

struct driver_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct driver {
	int fd;
	uint8_t *bytes; /* both regions */
	uint16_t size;
	struct driver_desc *desc;
	uint16_t *avail; /* flags, idx, ring[] */
	uint8_t *used;
};

/* The memory is that of driver->fd. */
static inline void driver_map(struct driver *driver, uint16_t size)
{
	driver->bytes = mmap(NULL, 2 * DRIVER_REGION, PROT_READ | PROT_WRITE, MAP_SHARED, driver->fd, 0);
	if (driver->bytes == MAP_FAILED)
		abort();
	driver->size = size;
	driver->desc = (void *)(driver->bytes + AT_DESC);
	driver->avail = (void *)(driver->bytes + AT_AVAIL);
	driver->used = driver->bytes + AT_USED;
}

static inline void driver_init(struct driver *driver, uint16_t size)
{
	driver->fd = memfd_create("guest", MFD_CLOEXEC);
	if (driver->fd < 0 || ftruncate(driver->fd, 2 * DRIVER_REGION))
		abort();
	driver_map(driver, size);
}

/* The same driver once more. */
static inline void driver_share(struct driver *driver, const struct driver *other)
{
	driver->fd = dup(other->fd);
	driver_map(driver, other->size);
}

static inline void driver_fini(struct driver *driver)
{
	munmap(driver->bytes, 2 * DRIVER_REGION);
	close(driver->fd);
}

static inline void driver_regions(struct guest_region regions[2])
{
	regions[0] = (struct guest_region){ DRIVER_GUEST, DRIVER_REGION, DRIVER_USER, 0 };
	regions[1] = (struct guest_region){ DRIVER_GUEST + DRIVER_REGION, DRIVER_REGION,
		DRIVER_USER + (1ull << 32), DRIVER_REGION };
}

static inline struct guest_memory *driver_memory(const struct driver *driver)
{
	struct guest_region regions[2];
	struct guest_memory *memory;
	const char *why;

	driver_regions(regions);
	if (guest_memory_new(regions, (int[]){ driver->fd, driver->fd }, 2, &memory, &why))
		abort();
	return memory;
}

static inline struct vring_setup driver_setup(const struct driver *driver, uint64_t features, uint32_t base)
{
	return (struct vring_setup){
		.features = features,
		.size = driver->size,
		.desc = DRIVER_USER + AT_DESC,
		.avail = DRIVER_USER + AT_AVAIL,
		.used = DRIVER_USER + AT_USED,
		.base = base,
	};
}

static inline void driver_describe(
	struct driver_desc *desc, uint64_t at, uint32_t len, unsigned flags, unsigned next)
{
	*desc = (struct driver_desc){ DRIVER_GUEST + at, len, (uint16_t)flags, (uint16_t)next };
}

static inline struct driver_desc *driver_table(struct driver *driver)
{
	return (void *)(driver->bytes + AT_TABLE);
}

static inline uint16_t driver_avail_idx(const struct driver *driver)
{
	return driver->avail[1];
}

/* Makes the chain that starts at @head available. */
static inline void driver_offer(struct driver *driver, uint16_t head)
{
	uint16_t idx = driver->avail[1];

	driver->avail[2 + idx % driver->size] = head;
	__atomic_store_n(&driver->avail[1], (uint16_t)(idx + 1), __ATOMIC_SEQ_CST);
}

static inline uint16_t *driver_used_event(struct driver *driver)
{
	return &driver->avail[2 + driver->size];
}

static inline uint16_t driver_used_flags(const struct driver *driver)
{
	return __atomic_load_n((uint16_t *)driver->used, __ATOMIC_SEQ_CST);
}

static inline uint16_t *driver_used_idx(struct driver *driver)
{
	return (uint16_t *)(driver->used + 2);
}

static inline uint16_t driver_avail_event(const struct driver *driver)
{
	return *(uint16_t *)(driver->used + 4 + 8 * driver->size);
}

struct driver_used {
	uint32_t id, len;
};

static inline struct driver_used driver_used_at(const struct driver *driver, uint16_t index)
{
	return ((struct driver_used *)(driver->used + 4))[index % driver->size];
}
