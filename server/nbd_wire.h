/* server/nbd_wire.h -- the NBD protocol as bytes: numbers, packed layouts, their sizes. Everything is big-endian.
 * Spec: NetworkBlockDevice/nbd, doc/proto.md; the section titles stand beside each group.
 * A leaf: no other header of ours is needed, and the client may include it too. */
#pragma once

#include <assert.h>
#include <endian.h>
#include <stdint.h>
#include <string.h>

/* "Handshake phase" */
#define NBD_MAGIC	       0x4e42444d41474943ULL /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC       0x49484156454F5054ULL /* "IHAVEOPT" */
#define NBD_OPTION_REPLY_MAGIC 0x3e889045565a9ULL

enum nbd_handshake_flags { NBD_FLAG_FIXED_NEWSTYLE = 1 << 0, NBD_FLAG_NO_ZEROES = 1 << 1 };

enum nbd_option {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10,
	NBD_OPT_EXTENDED_HEADERS = 11,
};

/* "Option reply types" */
enum nbd_option_reply {
	NBD_REP_ACK = 1,
	NBD_REP_SERVER = 2,
	NBD_REP_INFO = 3,
	NBD_REP_META_CONTEXT = 4,
};
#define NBD_REP_ERR(n) (0x80000000u + (n))
enum nbd_option_error {
	NBD_REP_ERR_UNSUP = 1,
	NBD_REP_ERR_POLICY = 2,
	NBD_REP_ERR_INVALID = 3,
	NBD_REP_ERR_PLATFORM = 4,
	NBD_REP_ERR_TLS_REQD = 5,
	NBD_REP_ERR_UNKNOWN = 6,
	NBD_REP_ERR_SHUTDOWN = 7,
	NBD_REP_ERR_BLOCK_SIZE_REQD = 8,
	NBD_REP_ERR_TOO_BIG = 9,
	NBD_REP_ERR_EXT_HEADER_REQD = 10,
};

enum nbd_info { NBD_INFO_EXPORT = 0, NBD_INFO_NAME = 1, NBD_INFO_DESCRIPTION = 2, NBD_INFO_BLOCK_SIZE = 3 };

/* "Values: String values" */
#define NBD_STRING_MAX 4096

/* "Transmission flags" */
enum nbd_transmission_flags {
	NBD_FLAG_HAS_FLAGS = 1 << 0,
	NBD_FLAG_READ_ONLY = 1 << 1,
	NBD_FLAG_SEND_FLUSH = 1 << 2,
	NBD_FLAG_SEND_FUA = 1 << 3,
	NBD_FLAG_ROTATIONAL = 1 << 4,
	NBD_FLAG_SEND_TRIM = 1 << 5,
	NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6,
	NBD_FLAG_SEND_DF = 1 << 7,
	NBD_FLAG_CAN_MULTI_CONN = 1 << 8,
	NBD_FLAG_SEND_RESIZE = 1 << 9,
	NBD_FLAG_SEND_CACHE = 1 << 10,
	NBD_FLAG_SEND_FAST_ZERO = 1 << 11,
	NBD_FLAG_BLOCK_STATUS_PAYLOAD = 1 << 12,
};

/* "Transmission phase" */
#define NBD_REQUEST_MAGIC	   0x25609513u
#define NBD_EXTENDED_REQUEST_MAGIC 0x21e41c71u
#define NBD_SIMPLE_REPLY_MAGIC	   0x67446698u
#define NBD_STRUCTURED_REPLY_MAGIC 0x668e33efu
#define NBD_EXTENDED_REPLY_MAGIC   0x6e8a278cu

enum nbd_cmd {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_CACHE = 5,
	NBD_CMD_WRITE_ZEROES = 6,
	NBD_CMD_BLOCK_STATUS = 7,
};

enum nbd_cmd_flags {
	NBD_CMD_FLAG_FUA = 1 << 0,
	NBD_CMD_FLAG_NO_HOLE = 1 << 1,
	NBD_CMD_FLAG_DF = 1 << 2,
	NBD_CMD_FLAG_REQ_ONE = 1 << 3,
	NBD_CMD_FLAG_FAST_ZERO = 1 << 4,
	NBD_CMD_FLAG_PAYLOAD_LEN = 1 << 5,
};

/* "Structured reply types" */
#define NBD_REPLY_FLAG_DONE 1
enum nbd_reply_type {
	NBD_REPLY_TYPE_NONE = 0,
	NBD_REPLY_TYPE_OFFSET_DATA = 1,
	NBD_REPLY_TYPE_OFFSET_HOLE = 2,
	NBD_REPLY_TYPE_BLOCK_STATUS = 5,
	NBD_REPLY_TYPE_BLOCK_STATUS_EXT = 6,
	NBD_REPLY_TYPE_ERROR_BIT = 1 << 15,
	NBD_REPLY_TYPE_ERROR = 32769,
	NBD_REPLY_TYPE_ERROR_OFFSET = 32770,
};

/* "The base: metadata namespace" */
#define NBD_CONTEXT_BASE       "base:"
#define NBD_CONTEXT_ALLOCATION "base:allocation"
enum nbd_state { NBD_STATE_HOLE = 1 << 0, NBD_STATE_ZERO = 1 << 1 };

/* Our own: docs/vnbd-namespace.md */
#define NBD_CONTEXT_VNBD     "vnbd:"
#define NBD_CONTEXT_VERIFIER "vnbd:verifier:"
#define NBD_CONTEXT_SESSION  "vnbd:session:"

/* "Error values" */
enum nbd_error {
	NBD_SUCCESS = 0,
	NBD_EPERM = 1,
	NBD_EIO = 5,
	NBD_ENOMEM = 12,
	NBD_EINVAL = 22,
	NBD_ENOSPC = 28,
	NBD_EOVERFLOW = 75,
	NBD_ENOTSUP = 95,
	NBD_ESHUTDOWN = 108,
};

struct nbd_greeting {
	uint64_t magic, option_magic;
	uint16_t handshake_flags;
} __attribute__((packed));
static_assert(sizeof(struct nbd_greeting) == 18, "");

struct nbd_option_header {
	uint64_t magic;
	uint32_t option, length;
} __attribute__((packed));
static_assert(sizeof(struct nbd_option_header) == 16, "");

struct nbd_option_reply_header {
	uint64_t magic;
	uint32_t option, type, length;
} __attribute__((packed));
static_assert(sizeof(struct nbd_option_reply_header) == 20, "");

struct nbd_request_header {
	uint32_t magic;
	uint16_t flags, type;
	uint64_t cookie, offset;
	uint32_t length;
} __attribute__((packed));
static_assert(sizeof(struct nbd_request_header) == 28, "");

struct nbd_extended_request_header {
	uint32_t magic;
	uint16_t flags, type;
	uint64_t cookie, offset, length;
} __attribute__((packed));
static_assert(sizeof(struct nbd_extended_request_header) == 32, "");

struct nbd_simple_reply {
	uint32_t magic, error;
	uint64_t cookie;
} __attribute__((packed));
static_assert(sizeof(struct nbd_simple_reply) == 16, "");

struct nbd_chunk_header {
	uint32_t magic;
	uint16_t flags, type;
	uint64_t cookie;
	uint32_t length;
} __attribute__((packed));
static_assert(sizeof(struct nbd_chunk_header) == 20, "");

struct nbd_extended_chunk_header {
	uint32_t magic;
	uint16_t flags, type;
	uint64_t cookie, offset, length;
} __attribute__((packed));
static_assert(sizeof(struct nbd_extended_chunk_header) == 32, "");

/* Extents of NBD_REPLY_TYPE_BLOCK_STATUS and NBD_REPLY_TYPE_BLOCK_STATUS_EXT. */
struct nbd_extent {
	uint32_t length, status;
} __attribute__((packed));
static_assert(sizeof(struct nbd_extent) == 8, "");

struct nbd_extended_extent {
	uint64_t length, status;
} __attribute__((packed));
static_assert(sizeof(struct nbd_extended_extent) == 16, "");

/* Numbers inside of bytes that have no layout. */
static inline uint16_t nbd_get16(const uint8_t *bytes)
{
	uint16_t number;

	memcpy(&number, bytes, sizeof(number));
	return be16toh(number);
}

static inline uint32_t nbd_get32(const uint8_t *bytes)
{
	uint32_t number;

	memcpy(&number, bytes, sizeof(number));
	return be32toh(number);
}

static inline uint64_t nbd_get64(const uint8_t *bytes)
{
	uint64_t number;

	memcpy(&number, bytes, sizeof(number));
	return be64toh(number);
}
