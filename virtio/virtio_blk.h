/* virtio/virtio_blk.h -- the virtio block device: what it offers, its configuration space, its cache mode.
 *
 * The device knows disks (cache/disk.h) and guests; a transport (vhost_user.h) brings it rings and memory.
 * Spec: virtio, "Block Device".
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/disk.h"
#include "conf/loop.h"
#include "virtio/virtio_blk_wire.h"

/* vhost-user names a ring by 8 bits; nobody has more CPUs to spread a disk over. */
#define VIRTIO_BLK_QUEUES_MAX 256u

/* Data segments a request may have: a request and its two ends then fit a queue of 128, the smallest usual one. */
#define VIRTIO_BLK_SEG_MAX 126u

/* Ranges in one discard or write zeroes request: a request keeps its own copy of them. */
#define VIRTIO_BLK_RANGES_MAX 32u

/* One range at most, bytes: less than 4 GiB, what a block request may have, and a multiple of every block size. */
#define VIRTIO_BLK_RANGE_LENGTH_MAX ((1ull << 32) - (64u << 10))

/* What an operator and a disk say about the device to be. */
struct virtio_blk_config {
	struct disk_facts facts; /* of the disk on every queue thread */
	unsigned num_queues;	 /* 1 .. VIRTIO_BLK_QUEUES_MAX */
	bool readonly;		 /* even where the disk is not */
	const char *serial;	 /* borrowed for the call: up to 20 ASCII characters; NULL: none */
};

/* A thread that serves queues: queue i lives on thread i % thread_count. */
struct queue_thread {
	struct loop *loop; /* borrowed: runs until the transport has stopped */
	/* borrowed: used on that loop only, outlives the transport. It may complete at once or later. Queues submit
	 * from an ev_prepare watcher of EV_MAXPRI: a disk that sends its batch from an ev_prepare watcher of ordinary
	 * priority sends all requests of a turn together, before the loop sleeps. */
	struct disk *disk;
};

struct virtio_blk {
	/* Constant but for the size; readonly where the operator wants that, size as the guest sees it. */
	struct disk_facts facts;
	uint64_t features;		 /* offered, constant */
	char serial[VIRTIO_BLK_ID_SIZE]; /* constant, padded with NUL */
	struct virtio_blk_space
		space; /* the transport's thread's; but for writeback and capacity, constant */
	/* shared: the transport's thread writes, queue threads read */
	atomic_bool writeback;
	atomic_bool writeback_told; /* the driver knows our value of it */
	bool at_work;		    /* the transport's thread's: a ring was started since the VMM connected */
};

/* virtio_blk_init() - Returns 0, or -EINVAL with a line in the log: no queue or too many, a serial that is too long, a
 * disk of less than one block. A size that is no multiple of the block size is rounded down, with a line in the log. */
int virtio_blk_init(struct virtio_blk *blk, const struct virtio_blk_config *config);

/* virtio_blk_resize() - the disk has @bytes now; on the transport's thread, which then tells the driver: a request that
 * comes after that is held against the new end. One that was taken before may find its bytes gone, and fails.
 * Returns whether the capacity has changed: a part of a block does not count. */
bool virtio_blk_resize(struct virtio_blk *blk, uint64_t bytes);

/* virtio_blk_reset() - a new VMM: writeback is on wherever a flush reaches the disk.
 *
 * A VMM that connects again, to a back-end that was restarted below a running guest, may remember that its guest has
 * turned writeback off, and tell neither it nor us; one that takes a guest over from another VMM may not even know. So a
 * driver that could have turned it off gets stable writes, unless it began here, after its VMM had read the field, or the
 * VMM writes it. */
void virtio_blk_reset(struct virtio_blk *blk);

/* virtio_blk_begin() - a driver's ring is about to start; on the transport's thread.
 * @here: the driver has begun with this VMM's connection, as far as the ring can tell. */
void virtio_blk_begin(struct virtio_blk *blk, bool here);

/* virtio_blk_read_space() - copies @size bytes from @offset of the configuration space; what is past its end reads as
 * zeroes, as the fields of features that this device does not have. @features: as negotiated so far. */
void virtio_blk_read_space(
	struct virtio_blk *blk, uint64_t features, uint32_t offset, void *out, size_t size);

/* virtio_blk_write_space() - a driver's write, or with @restore the state of a migrated device.
 * Returns 0; -EPERM: a field that drivers may not write; -EINVAL: not a value of that field. Nothing has changed then.
 */
int virtio_blk_write_space(
	struct virtio_blk *blk, uint32_t offset, const void *bytes, size_t size, bool restore);

/* Whether a write that is submitted now has to be stable before it completes.
 * @features: as negotiated. Spec: "Block Device / Device Operation", volatile and stable writes. */
bool virtio_blk_writes_through(const struct virtio_blk *blk, uint64_t features);
