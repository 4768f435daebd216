/* virtio/vhost_user_wire.h -- vhost-user messages, in native byte order.
 * Spec: QEMU, docs/interop/vhost-user.rst, "Message Specification". */
#pragma once

#include <assert.h>
#include <stdint.h>

/* Bits 0-1 of a header's flags are the version. */
#define VHOST_USER_VERSION_MASK 0x3u
#define VHOST_USER_VERSION	0x1u
#define VHOST_USER_REPLY	(1u << 2)
#define VHOST_USER_NEED_REPLY	(1u << 3)

/* The bit among the device's features that says there are protocol features. */
#define VHOST_USER_F_PROTOCOL_FEATURES (1ull << 30)

/* And the one that asks for a log of the memory that requests change. */
#define VHOST_F_LOG_ALL (1ull << 26)

#define VHOST_USER_PROTOCOL_F_MQ		      (1ull << 0)
#define VHOST_USER_PROTOCOL_F_LOG_SHMFD		      (1ull << 1)
#define VHOST_USER_PROTOCOL_F_REPLY_ACK		      (1ull << 3)
#define VHOST_USER_PROTOCOL_F_BACKEND_REQ	      (1ull << 5)
#define VHOST_USER_PROTOCOL_F_CONFIG		      (1ull << 9)
#define VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD	      (1ull << 12)
#define VHOST_USER_PROTOCOL_F_RESET_DEVICE	      (1ull << 13)
#define VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS     (1ull << 15)
#define VHOST_USER_PROTOCOL_F_STATUS		      (1ull << 16)
/* Requests may stay in the record of those in flight when their ring is stopped. */
#define VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT (1ull << 20)

enum vhost_user_request {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_RESET_OWNER = 4,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_LOG_BASE = 6,
	VHOST_USER_SET_LOG_FD = 7,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_SET_BACKEND_REQ_FD = 21,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_SET_CONFIG = 25,
	VHOST_USER_GET_INFLIGHT_FD = 31,
	VHOST_USER_SET_INFLIGHT_FD = 32,
	VHOST_USER_RESET_DEVICE = 34,
	VHOST_USER_GET_MAX_MEM_SLOTS = 36,
	VHOST_USER_ADD_MEM_REG = 37,
	VHOST_USER_REM_MEM_REG = 38,
	VHOST_USER_SET_STATUS = 39,
	VHOST_USER_GET_STATUS = 40,
	VHOST_USER_REQUESTS,
};

/* What the back-end asks, on a channel of its own. */
enum vhost_user_backend_request {
	VHOST_USER_BACKEND_CONFIG_CHANGE_MSG = 2,
};

struct vhost_user_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload, bytes */
} __attribute__((packed));
static_assert(sizeof(struct vhost_user_header) == 12, "vhost-user header");

struct vhost_user_vring_state {
	uint32_t index;
	uint32_t num;
} __attribute__((packed));
static_assert(sizeof(struct vhost_user_vring_state) == 8, "vring state description");

#define VHOST_USER_VRING_F_LOG (1u << 0)

/* desc, used, avail are user addresses. */
struct vhost_user_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc;
	uint64_t used;
	uint64_t avail;
	uint64_t log;
} __attribute__((packed));
static_assert(sizeof(struct vhost_user_vring_addr) == 40, "vring address description");

/* The u64 of SET_VRING_KICK, CALL and ERR. */
#define VHOST_USER_VRING_INDEX_MASK 0xffull
#define VHOST_USER_VRING_NO_FD	    (1ull << 8)

#define VHOST_USER_MEM_TABLE_REGIONS 8

struct vhost_user_region {
	uint64_t guest_address;
	uint64_t size;
	uint64_t user_address;
	uint64_t mmap_offset;
} __attribute__((packed));
static_assert(sizeof(struct vhost_user_region) == 32, "memory region description");

struct vhost_user_mem_table {
	uint32_t region_count;
	uint32_t padding;
	struct vhost_user_region regions[VHOST_USER_MEM_TABLE_REGIONS];
} __attribute__((packed));
static_assert(sizeof(struct vhost_user_mem_table) == 264, "memory regions description");

struct vhost_user_single_region {
	uint64_t padding;
	struct vhost_user_region region;
} __attribute__((packed));
static_assert(sizeof(struct vhost_user_single_region) == 40, "single memory region description");

struct vhost_user_log {
	uint64_t size;
	uint64_t mmap_offset;
} __attribute__((packed));
static_assert(sizeof(struct vhost_user_log) == 16, "log description");

#define VHOST_USER_CONFIG_SIZE_MAX 256

enum vhost_user_config_flags {
	VHOST_USER_CONFIG_WRITABLE = 0, /* a driver writes fields that drivers may write */
	VHOST_USER_CONFIG_MIGRATION = 1,
};

struct vhost_user_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t bytes[VHOST_USER_CONFIG_SIZE_MAX];
} __attribute__((packed));
static_assert(sizeof(struct vhost_user_config) == 268, "virtio device config space");

#define VHOST_USER_CONFIG_HEADER_SIZE 12u

struct vhost_user_inflight {
	uint64_t mmap_size;
	uint64_t mmap_offset;
	uint16_t num_queues;
	uint16_t queue_size;
	uint32_t padding; /* not in the specification, but with some VMMs */
} __attribute__((packed));
static_assert(sizeof(struct vhost_user_inflight) == 24, "inflight description");

#define VHOST_USER_INFLIGHT_SIZE_MIN 20u

union vhost_user_payload {
	uint64_t u64;
	struct vhost_user_vring_state state;
	struct vhost_user_vring_addr addr;
	struct vhost_user_mem_table table;
	struct vhost_user_single_region region;
	struct vhost_user_log log;
	struct vhost_user_config config;
	struct vhost_user_inflight inflight;
};
