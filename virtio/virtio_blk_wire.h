/* virtio/virtio_blk_wire.h -- a virtio block device as its driver sees it. Numbers are little-endian.
 * Spec: virtio, "Block Device", "Reserved Feature Bits". */
#pragma once

#include <assert.h>
#include <stdint.h>

#define VIRTIO_BLK_F_SIZE_MAX	  (1ull << 1)
#define VIRTIO_BLK_F_SEG_MAX	  (1ull << 2)
#define VIRTIO_BLK_F_RO		  (1ull << 5)
#define VIRTIO_BLK_F_BLK_SIZE	  (1ull << 6)
#define VIRTIO_BLK_F_FLUSH	  (1ull << 9)
#define VIRTIO_BLK_F_TOPOLOGY	  (1ull << 10)
#define VIRTIO_BLK_F_CONFIG_WCE	  (1ull << 11)
#define VIRTIO_BLK_F_MQ		  (1ull << 12)
#define VIRTIO_BLK_F_DISCARD	  (1ull << 13)
#define VIRTIO_BLK_F_WRITE_ZEROES (1ull << 14)

#define VIRTIO_F_RING_INDIRECT_DESC (1ull << 28)
#define VIRTIO_F_RING_EVENT_IDX	    (1ull << 29)
#define VIRTIO_F_VERSION_1	    (1ull << 32)
#define VIRTIO_F_ACCESS_PLATFORM    (1ull << 33)
#define VIRTIO_F_RING_PACKED	    (1ull << 34)
#define VIRTIO_F_IN_ORDER	    (1ull << 35)
#define VIRTIO_F_RING_RESET	    (1ull << 40)

/* Spec: "Device Status Field". */
enum virtio_status {
	VIRTIO_STATUS_FEATURES_OK = 8,
	VIRTIO_STATUS_NEEDS_RESET = 64, /* the device's alone to set */
	VIRTIO_STATUS_MAX = 255,
};

#define VIRTIO_BLK_SECTOR_SIZE 512u
#define VIRTIO_BLK_ID_SIZE     20u

/* struct virtio_blk_config of the specification, up to the last field that we have. */
struct virtio_blk_space {
	uint64_t capacity; /* sectors */
	uint32_t size_max;
	uint32_t seg_max;
	struct {
		uint16_t cylinders;
		uint8_t heads;
		uint8_t sectors;
	} __attribute__((packed)) geometry;
	uint32_t blk_size; /* bytes */
	uint8_t physical_block_exp;
	uint8_t alignment_offset;
	uint16_t min_io_size; /* blocks */
	uint32_t opt_io_size; /* blocks */
	uint8_t writeback;
	uint8_t unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors;
	uint32_t max_discard_seg;
	uint32_t discard_sector_alignment; /* sectors */
	uint32_t max_write_zeroes_sectors;
	uint32_t max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
} __attribute__((packed));
static_assert(sizeof(struct virtio_blk_space) == 60, "virtio_blk_config up to unused1");

enum virtio_blk_type {
	VIRTIO_BLK_T_IN = 0,
	VIRTIO_BLK_T_OUT = 1,
	VIRTIO_BLK_T_FLUSH = 4,
	VIRTIO_BLK_T_GET_ID = 8,
	VIRTIO_BLK_T_DISCARD = 11,
	VIRTIO_BLK_T_WRITE_ZEROES = 13,
};

enum virtio_blk_status {
	VIRTIO_BLK_S_OK = 0,
	VIRTIO_BLK_S_IOERR = 1,
	VIRTIO_BLK_S_UNSUPP = 2,
};

/* The readable start of a request; after the data, its last writable byte is the status. */
struct virtio_blk_header {
	uint32_t type;
	uint32_t reserved;
	uint64_t sector;
} __attribute__((packed));
static_assert(sizeof(struct virtio_blk_header) == 16, "virtio_blk_req up to data");

#define VIRTIO_BLK_RANGE_UNMAP 1u

/* struct virtio_blk_discard_write_zeroes of the specification. */
struct virtio_blk_range {
	uint64_t sector;
	uint32_t num_sectors;
	uint32_t flags;
} __attribute__((packed));
static_assert(sizeof(struct virtio_blk_range) == 16, "virtio_blk_discard_write_zeroes");
