/* cache/overlay_format.c -- packed structs, little-endian, with a sum behind. */
#include "cache/overlay_format.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#define DATA_GRID (64u << 10)
enum { VERSION = 1, MAGIC_LENGTH = 8 };

static const char header_magic[MAGIC_LENGTH] = "VNBDover";
static const char lifetime_magic[MAGIC_LENGTH] = "VNBDlife";

struct header {
	char magic[MAGIC_LENGTH];
	uint32_t version, block_size;
	uint64_t size, digest, written_s;
	uint32_t written_ns, reserved;
	uint64_t sum; /* of what is before */
} __attribute__((packed));

struct lifetime {
	char magic[MAGIC_LENGTH];
	char boot[sizeof(((struct overlay_lifetime *)NULL)->boot)];
	uint64_t device, inode, birth_ns;
	uint64_t sum; /* of what is before */
} __attribute__((packed));

static_assert(sizeof(struct header) == 56 && sizeof(struct lifetime) == 104, "");

uint64_t overlay_sum(uint64_t sum, const void *bytes, uint64_t length)
{
	const uint8_t *byte = bytes;

	for (uint64_t i = 0; i < length; i++)
		sum = (sum ^ byte[i]) * 0x100000001b3u;
	return sum;
}

static uint64_t round_up(uint64_t value, uint64_t grid)
{
	return (value + grid - 1) / grid * grid;
}

int overlay_layout_of(uint64_t size, struct overlay_layout *out)
{
	if (size > INT64_MAX - OVERLAY_BLOCK)
		return -EFBIG;
	out->blocks = round_up(size, OVERLAY_BLOCK) / OVERLAY_BLOCK;
	out->map_bytes = round_up(out->blocks, OVERLAY_PAGE_BLOCKS) / 8;
	out->durable_at = 2ull * OVERLAY_BLOCK;
	out->volatile_at = out->durable_at + out->map_bytes;
	out->data_at = round_up(out->volatile_at + out->map_bytes, DATA_GRID);
	out->file_size = out->data_at + out->blocks * OVERLAY_BLOCK;
	return out->file_size > INT64_MAX ? -EFBIG : 0;
}

static uint64_t header_sum(const struct header *header)
{
	return htole64(overlay_sum(OVERLAY_SUM_START, header, offsetof(struct header, sum)));
}

void overlay_header_write(const struct overlay_base *base, uint8_t out[OVERLAY_BLOCK])
{
	struct header header = {
		.version = htole32(VERSION),
		.block_size = htole32(OVERLAY_BLOCK),
		.size = htole64(base->size),
		.digest = htole64(base->digest),
		.written_s = htole64(base->written_s),
		.written_ns = htole32(base->written_ns),
	};

	memcpy(header.magic, header_magic, MAGIC_LENGTH);
	header.sum = header_sum(&header);
	memset(out, 0, OVERLAY_BLOCK);
	memcpy(out, &header, sizeof(header));
}

int overlay_header_read(const uint8_t bytes[OVERLAY_BLOCK], struct overlay_base *out)
{
	struct header header;

	memcpy(&header, bytes, sizeof(header));
	if (memcmp(header.magic, header_magic, MAGIC_LENGTH) != 0)
		return -EINVAL;
	if (header.version != htole32(VERSION))
		return -EPROTONOSUPPORT;
	if (header.sum != header_sum(&header) || header.block_size != htole32(OVERLAY_BLOCK))
		return -EBADMSG;
	*out = (struct overlay_base){
		.size = le64toh(header.size),
		.digest = le64toh(header.digest),
		.written_s = le64toh(header.written_s),
		.written_ns = le32toh(header.written_ns),
	};
	return 0;
}

static uint64_t lifetime_sum(const struct lifetime *lifetime)
{
	return htole64(overlay_sum(OVERLAY_SUM_START, lifetime, offsetof(struct lifetime, sum)));
}

void overlay_lifetime_write(const struct overlay_lifetime *lifetime, uint8_t out[OVERLAY_BLOCK])
{
	struct lifetime packed = {
		.device = htole64(lifetime->device),
		.inode = htole64(lifetime->inode),
		.birth_ns = htole64(lifetime->birth_ns),
	};

	memset(out, 0, OVERLAY_BLOCK);
	if (!*lifetime->boot)
		return;
	memcpy(packed.magic, lifetime_magic, MAGIC_LENGTH);
	memcpy(packed.boot, lifetime->boot, strnlen(lifetime->boot, sizeof(packed.boot)));
	packed.sum = lifetime_sum(&packed);
	memcpy(out, &packed, sizeof(packed));
}

bool overlay_lifetime_counts(const uint8_t bytes[OVERLAY_BLOCK], const struct overlay_lifetime *now)
{
	struct lifetime then;
	bool is_same_file;

	memcpy(&then, bytes, sizeof(then));
	if (!*now->boot || memcmp(then.magic, lifetime_magic, MAGIC_LENGTH) != 0 ||
		then.sum != lifetime_sum(&then) || strncmp(then.boot, now->boot, sizeof(then.boot)) != 0)
		return false;
	is_same_file = le64toh(then.inode) == now->inode && le64toh(then.birth_ns) == now->birth_ns &&
		       now->birth_ns != 0;
	return !is_same_file || le64toh(then.device) == now->device;
}
