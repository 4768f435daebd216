/* virtio/blk_request.h -- one request of the guest: from its chain of buffers to block requests, and to its status.
 *
 * A guest's request becomes a plan of block requests that follow one another: more than one where it is longer than the
 * disk takes at once, has several ranges, or is a write that needs a flush behind it.
 * Spec: virtio, "Block Device / Device Operation".
 */
#pragma once

#include "virtio/virtio_blk.h"
#include "virtio/vring.h"

/* The data segments we offer, header and status in descriptors of their own, and some cut in two by a region's end. */
#define BLK_REQUEST_IOV_MAX (VIRTIO_BLK_SEG_MAX + 2 + 16)

#define BLK_REQUEST_MAGIC 0x626c6b72u

struct blk_queue;
struct memory_hold;

/*  FREE --take--> PARSED --submit--> ON_DISK --done--> PARSED (more to do) or FREE */
enum blk_request_stage { BLK_REQUEST_FREE, BLK_REQUEST_PARSED, BLK_REQUEST_ON_DISK };

struct blk_request {
	uint32_t magic;
	enum blk_request_stage stage;
	struct blk_queue *queue;       /* borrowed: has this request in its pool */
	struct blk_request *next_free; /* in the pool */
	struct memory_hold *hold;      /* counted: keeps the memory below iov and status */

	struct vring_chain chain;
	uint8_t *status; /* in guest memory; NULL: the driver left no room for one */
	uint64_t filled; /* bytes from the first writable one on that success fills */

	/* What is still to be asked of the disk. */
	struct {
		enum block_op op;
		unsigned flags;
		uint64_t offset, left; /* bytes of data */
		struct iovec *iov, *iov_end;
		struct iovec rest;   /* of *iov, where the last block request took its beginning */
		uint32_t length_max; /* of one block request */
		unsigned range, range_count;
		bool flush; /* at the end */
	} plan;
	struct block_req block;

	unsigned filled_count; /* entries of filled_iov */
	union {
		struct virtio_blk_range ranges[VIRTIO_BLK_RANGES_MAX]; /* our copy, native byte order */
		struct iovec
			filled_iov[BLK_REQUEST_IOV_MAX]; /* what we or the disk write: iov gets used up */
	};
	struct iovec iov[BLK_REQUEST_IOV_MAX];
};

/* blk_request_parse() - make a plan of request->chain, just taken.
 * @features: as negotiated.
 * Returns 0: ask for block requests; or -errno, to be told to the driver as it is: -EPROTO: it is malformed;
 * -EINVAL, -ERANGE: what it asks for is off the grid or past the end; -ENOTSUP, -EROFS. */
int blk_request_parse(struct blk_request *request, const struct virtio_blk *blk, uint64_t features);

/* blk_request_next() - fill request->block (but for done and ring) with what the disk is to do next.
 * Returns false when all is done. */
bool blk_request_next(struct blk_request *request);

/* blk_request_finish() - write the status that @error (0 or -errno) is to a driver.
 * Returns how many bytes of the chain hold what they should, for vring_give(). */
uint32_t blk_request_finish(struct blk_request *request, int error);

/* blk_request_log() - after blk_request_finish(), mark what was written to the chain's buffers; also what a disk may have
 * written that failed in the end.
 * @memory: the snapshot that the chain was taken from. */
void blk_request_log(
	const struct blk_request *request, const struct guest_memory *memory, struct dirty_log *log);

enum virtio_blk_status virtio_status_of(int error);
