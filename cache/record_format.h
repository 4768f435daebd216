/* cache/record_format.h -- a record's file: every request that a disk was given, in the order in which it saw them.
 *
 *	header	80 bytes, and behind it the export's name
 *		 0  magic	"VNBDrec\0"
 *		 8  version	1
 *		12  bytes	of the header with the name: where the first entry begins
 *		16  disk_size	bytes, when the recording began
 *		24  started_ns	since 1970
 *		32  block_size	the smallest request is so long, and so aligned
 *		36  name_bytes
 *		40  mode	the cache mode's name, filled up with zeroes
 *		56  reserved	zeroes
 *		76  sum		CRC-32C of what is before, and the name
 *	entry	64 bytes, and behind the submission of a write its data; the next one follows at once
 *		 0  magic	0x54656e76
 *		 4  sum		CRC-32C of the data, and of what follows here
 *		 8  sequence	the entry's number, from 0
 *		16  request	the sequence of the request's submission
 *		24  time_ns	since started_ns
 *		32  offset	bytes; of a size: how large the disk is from now on
 *		40  length	bytes
 *		48  event	enum record_event
 *		49  op		enum block_op
 *		50  flags	enum block_flag
 *		52  status	of a completion: 0, or the errno of Linux, negative
 *		56  data_bytes	that follow: of the submission of a write, its length; else 0
 *		60  reserved	zeroes
 *
 * Numbers are little-endian. A submission stands before whatever the disk did for it, a completion before whoever asked
 * heard of it: if one request was answered before the next one came, the file tells it. An entry is there as a whole or is the
 * last: what a killed writer leaves is read up to its last whole entry.
 *
 * Pure functions over bytes that others may have written.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	RECORD_HEADER_BYTES = 80,
	RECORD_ENTRY_BYTES = 64,
	RECORD_MODE_MAX = 16,	/* with its NUL */
	RECORD_NAME_MAX = 4096, /* NBD's longest string */
};

enum record_event {
	RECORD_SUBMITTED = 1,
	RECORD_COMPLETED = 2,
	RECORD_SIZE = 3, /* the disk is of another size now */
};

struct record_header {
	uint64_t disk_size;  /* bytes */
	uint64_t started_ns; /* since 1970 */
	uint32_t block_size; /* bytes */
	uint32_t name_bytes;
	char mode[RECORD_MODE_MAX];
};

struct record_entry {
	uint64_t sequence, request, time_ns;
	uint64_t offset, length; /* bytes */
	enum record_event event;
	unsigned op, flags;
	int status;
	uint32_t data_bytes;
};

/* Bytes that a header takes with its name. */
size_t record_header_bytes(const struct record_header *header);

/* @name: header->name_bytes of it. */
void record_header_write(
	const struct record_header *header, const char *name, uint8_t out[RECORD_HEADER_BYTES]);

/* What can be told before the name is read. Returns 0; -EINVAL: no record; -EPROTONOSUPPORT: one of another version;
 * -EBADMSG: lengths that do not fit. */
int record_header_read(const uint8_t bytes[RECORD_HEADER_BYTES], struct record_header *out);
/* Whether the sum is right. */
bool record_header_is_whole(const uint8_t bytes[RECORD_HEADER_BYTES], const char *name, size_t name_bytes);

/* @data_sum: crc32c() of the data. */
void record_entry_write(const struct record_entry *entry, uint32_t data_sum, uint8_t out[RECORD_ENTRY_BYTES]);

/* Returns 0; -EINVAL: no entry. Says nothing of the sum and of what the fields mean. */
int record_entry_read(const uint8_t bytes[RECORD_ENTRY_BYTES], struct record_entry *out);
/* Whether the sum is right. */
bool record_entry_is_whole(const uint8_t bytes[RECORD_ENTRY_BYTES], uint32_t data_sum);

/* record_entry_check() - whether it can be the one of number @sequence in the record of a disk of @disk_size bytes.
 * Returns NULL; or what is wrong, a phrase. */
const char *record_entry_check(const struct record_entry *entry, uint64_t sequence, uint64_t disk_size);
