/* tests/unit/record_file.h -- a record written by hand, entry by entry. */
#pragma once

#include "tests/unit/disks.h"

#include "cache/crc32c.h"
#include "cache/record_format.h"

struct record_file {
	char path[256];
	int fd;
	uint64_t entries;
};

static inline void put_bytes(struct record_file *file, const void *bytes, size_t length)
{
	assert_int_equal(write(file->fd, bytes, length), (ssize_t)length);
}

static inline void begin_record(struct record_file *file, uint64_t disk_size)
{
	const struct record_header header = {
		.disk_size = disk_size, .block_size = 1, .name_bytes = 4, .mode = "writeback"
	};
	uint8_t bytes[RECORD_HEADER_BYTES];

	temporary_file(file->path, sizeof(file->path), 0);
	file->fd = open(file->path, O_RDWR);
	file->entries = 0;
	record_header_write(&header, "disk", bytes);
	put_bytes(file, bytes, sizeof(bytes));
	put_bytes(file, "disk", 4);
}

static inline void put_entry(struct record_file *file, struct record_entry entry, const void *data)
{
	uint8_t bytes[RECORD_ENTRY_BYTES];

	entry.sequence = file->entries++;
	record_entry_write(&entry, crc32c(0, data, entry.data_bytes), bytes);
	put_bytes(file, bytes, sizeof(bytes));
	put_bytes(file, data, entry.data_bytes);
}

/* Returns the request's number. */
static inline uint64_t put_submission(struct record_file *file, enum block_op op, unsigned flags,
	uint64_t offset, uint64_t length, const void *data)
{
	const struct record_entry entry = { .event = RECORD_SUBMITTED,
		.request = file->entries,
		.op = op,
		.flags = flags,
		.offset = offset,
		.length = length,
		.data_bytes = op == BLOCK_WRITE ? (uint32_t)length : 0 };

	put_entry(file, entry, data);
	return entry.request;
}

static inline void put_completion(struct record_file *file, uint64_t request, int status)
{
	put_entry(file,
		(struct record_entry){ .event = RECORD_COMPLETED, .request = request, .status = status }, "");
}
