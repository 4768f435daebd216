/* cache/record_format.c -- packed structs, little-endian, each with its sum. */
#include "cache/record_format.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "cache/block.h"
#include "cache/crc32c.h"

enum { VERSION = 1, MAGIC_LENGTH = 8 };
/* Linux has no larger errno. */
enum { STATUS_MOST = 4095 };
#define ENTRY_MAGIC 0x54656e76u

static const char header_magic[MAGIC_LENGTH] = "VNBDrec";

struct header {
	char magic[MAGIC_LENGTH];
	uint32_t version, bytes;
	uint64_t disk_size, started_ns;
	uint32_t block_size, name_bytes;
	char mode[RECORD_MODE_MAX];
	uint8_t reserved[20];
	uint32_t sum;
} __attribute__((packed));

struct entry {
	uint32_t magic, sum;
	uint64_t sequence, request, time_ns, offset, length;
	uint8_t event, op;
	uint16_t flags;
	uint32_t status;
	uint32_t data_bytes, reserved;
} __attribute__((packed));

static_assert(sizeof(struct header) == RECORD_HEADER_BYTES, "");
static_assert(sizeof(struct entry) == RECORD_ENTRY_BYTES, "");

/* The file has these numbers, whatever becomes of the enums. */
static_assert(BLOCK_READ == 0 && BLOCK_WRITE == 1 && BLOCK_FLUSH == 2 && BLOCK_TRIM == 3 && BLOCK_ZERO == 4 &&
		      BLOCK_CACHE == 5 && BLOCK_STATUS == 6 && BLOCK_OPS == 7,
	"");
static_assert(BLOCK_FUA == 1 && BLOCK_NO_HOLE == 2 && BLOCK_FAST_ZERO == 4 && BLOCK_ONE_EXTENT == 8, "");

size_t record_header_bytes(const struct record_header *header)
{
	return RECORD_HEADER_BYTES + header->name_bytes;
}

static uint32_t header_sum(const void *header, const char *name, size_t name_bytes)
{
	return crc32c(crc32c(0, header, offsetof(struct header, sum)), name, name_bytes);
}

void record_header_write(
	const struct record_header *header, const char *name, uint8_t out[RECORD_HEADER_BYTES])
{
	struct header packed = {
		.version = htole32(VERSION),
		.bytes = htole32((uint32_t)record_header_bytes(header)),
		.disk_size = htole64(header->disk_size),
		.started_ns = htole64(header->started_ns),
		.block_size = htole32(header->block_size),
		.name_bytes = htole32(header->name_bytes),
	};

	memcpy(packed.magic, header_magic, MAGIC_LENGTH);
	memcpy(packed.mode, header->mode, RECORD_MODE_MAX);
	packed.sum = htole32(header_sum(&packed, name, header->name_bytes));
	memcpy(out, &packed, sizeof(packed));
}

int record_header_read(const uint8_t bytes[RECORD_HEADER_BYTES], struct record_header *out)
{
	struct header packed;

	memcpy(&packed, bytes, sizeof(packed));
	if (memcmp(packed.magic, header_magic, MAGIC_LENGTH) != 0)
		return -EINVAL;
	if (packed.version != htole32(VERSION))
		return -EPROTONOSUPPORT;
	*out = (struct record_header){
		.disk_size = le64toh(packed.disk_size),
		.started_ns = le64toh(packed.started_ns),
		.block_size = le32toh(packed.block_size),
		.name_bytes = le32toh(packed.name_bytes),
	};
	memcpy(out->mode, packed.mode, RECORD_MODE_MAX);
	if (out->name_bytes > RECORD_NAME_MAX || le32toh(packed.bytes) != record_header_bytes(out) ||
		out->disk_size > INT64_MAX || out->mode[RECORD_MODE_MAX - 1])
		return -EBADMSG;
	return 0;
}

bool record_header_is_whole(const uint8_t bytes[RECORD_HEADER_BYTES], const char *name, size_t name_bytes)
{
	struct header packed;

	memcpy(&packed, bytes, sizeof(packed));
	return le32toh(packed.sum) == header_sum(bytes, name, name_bytes);
}

static uint32_t entry_sum(const uint8_t bytes[RECORD_ENTRY_BYTES], uint32_t data_sum)
{
	const size_t start = offsetof(struct entry, sequence);

	return crc32c(data_sum, bytes + start, RECORD_ENTRY_BYTES - start);
}

void record_entry_write(const struct record_entry *entry, uint32_t data_sum, uint8_t out[RECORD_ENTRY_BYTES])
{
	struct entry packed = {
		.magic = htole32(ENTRY_MAGIC),
		.sequence = htole64(entry->sequence),
		.request = htole64(entry->request),
		.time_ns = htole64(entry->time_ns),
		.offset = htole64(entry->offset),
		.length = htole64(entry->length),
		.event = (uint8_t)entry->event,
		.op = (uint8_t)entry->op,
		.flags = htole16((uint16_t)entry->flags),
		.status = htole32((uint32_t)entry->status),
		.data_bytes = htole32(entry->data_bytes),
	};

	memcpy(out, &packed, sizeof(packed));
	packed.sum = htole32(entry_sum(out, data_sum));
	memcpy(out, &packed, sizeof(packed));
}

int record_entry_read(const uint8_t bytes[RECORD_ENTRY_BYTES], struct record_entry *out)
{
	struct entry packed;

	memcpy(&packed, bytes, sizeof(packed));
	if (packed.magic != htole32(ENTRY_MAGIC))
		return -EINVAL;
	*out = (struct record_entry){
		.sequence = le64toh(packed.sequence),
		.request = le64toh(packed.request),
		.time_ns = le64toh(packed.time_ns),
		.offset = le64toh(packed.offset),
		.length = le64toh(packed.length),
		.event = (enum record_event)packed.event,
		.op = packed.op,
		.flags = le16toh(packed.flags),
		.status = (int32_t)le32toh(packed.status),
		.data_bytes = le32toh(packed.data_bytes),
	};
	return 0;
}

bool record_entry_is_whole(const uint8_t bytes[RECORD_ENTRY_BYTES], uint32_t data_sum)
{
	struct entry packed;

	memcpy(&packed, bytes, sizeof(packed));
	return le32toh(packed.sum) == entry_sum(bytes, data_sum);
}

static const char *check_submission(const struct record_entry *entry, uint64_t disk_size)
{
	bool has_data = entry->op == BLOCK_WRITE;

	if (entry->request != entry->sequence)
		return "a submission that is not of its own request";
	if ((entry->length == 0) != (entry->op == BLOCK_FLUSH) ||
		(has_data && entry->length > BLOCK_DATA_MAX))
		return "a request of an impossible length";
	if (entry->data_bytes != (has_data ? entry->length : 0))
		return "data of another length than the request's";
	if (entry->op != BLOCK_FLUSH &&
		(entry->offset > disk_size || entry->length > disk_size - entry->offset))
		return "a request past the end of the disk";
	return NULL;
}

static const char *check_completion(const struct record_entry *entry, uint64_t sequence)
{
	if (entry->status > 0 || entry->status < -STATUS_MOST)
		return "a status that is no errno";
	return entry->request < sequence ? NULL : "a completion of a request that is yet to come";
}

const char *record_entry_check(const struct record_entry *entry, uint64_t sequence, uint64_t disk_size)
{
	if (entry->sequence != sequence)
		return "another number than the entry's place";
	if (entry->event == RECORD_SUBMITTED)
		return entry->op < BLOCK_OPS ? check_submission(entry, disk_size) : "an unknown operation";
	if (entry->data_bytes > 0)
		return "data where none belongs";
	if (entry->event == RECORD_COMPLETED)
		return check_completion(entry, sequence);
	if (entry->event == RECORD_SIZE)
		return entry->offset <= INT64_MAX ? NULL : "an impossible size";
	return "an unknown event";
}
