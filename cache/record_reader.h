/* cache/record_reader.h -- the entries of a record's file, one after the other, each checked as a whole.
 *
 * The file may have been written by anyone. A last entry that is not whole is what a killed writer leaves: the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/record_format.h"

struct record_reader {
	int fd;		  /* owned */
	const char *path; /* borrowed: the caller's */
	struct record_header header;
	char *name;	    /* owned; header.name_bytes and a NUL */
	uint64_t file_size; /* bytes */
	uint64_t at;	    /* bytes: the next entry; at the end, the bytes that count */
	uint64_t sequence;  /* the next entry's */
	uint64_t disk_size; /* bytes, after what has been read */
	uint64_t data_at;   /* bytes: the data of the entry that was read last */
	bool is_cut;	    /* it ends in the middle of an entry */
	uint8_t *buffer;    /* owned */
};

/* record_reader_open() - @path, from its first entry on. Returns 0; or -errno, with a line in @why, and nothing to close. */
int record_reader_open(struct record_reader *reader, const char *path, char *why, size_t why_size);
void record_reader_close(struct record_reader *reader);

/* Returns 1 with the next one in @entry; 0 at the end; or -errno with a line in @why: -EBADMSG: it is damaged. */
int record_reader_next(struct record_reader *reader, struct record_entry *entry, char *why, size_t why_size);
