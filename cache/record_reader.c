/* cache/record_reader.c -- reads a record's file by pread(2), a piece of data at a time. */
#include "cache/record_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/crc32c.h"

#define BUFFER_BYTES (256u << 10)

/* Returns 0; -ENODATA: the file ends before; or -errno. */
static int read_all(int fd, void *out, size_t length, uint64_t at)
{
	for (char *to = out; length > 0;) {
		ssize_t done = pread(fd, to, length, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -ENODATA;
		to += done;
		at += (uint64_t)done;
		length -= (size_t)done;
	}
	return 0;
}

static int read_name(struct record_reader *reader, const uint8_t bytes[RECORD_HEADER_BYTES])
{
	size_t length = reader->header.name_bytes;
	int error;

	reader->name = calloc(1, length + 1);
	reader->buffer = malloc(BUFFER_BYTES);
	if (!reader->name || !reader->buffer)
		return -ENOMEM;
	error = read_all(reader->fd, reader->name, length, RECORD_HEADER_BYTES);
	if (error)
		return error;
	return record_header_is_whole(bytes, reader->name, length) ? 0 : -EBADMSG;
}

static int read_header(struct record_reader *reader)
{
	uint8_t bytes[RECORD_HEADER_BYTES];
	struct stat found;
	int error;

	if (fstat(reader->fd, &found) < 0)
		return -errno;
	if (!S_ISREG(found.st_mode))
		return -EINVAL;
	reader->file_size = (uint64_t)found.st_size;
	error = read_all(reader->fd, bytes, sizeof(bytes), 0);
	if (!error)
		error = record_header_read(bytes, &reader->header);
	if (!error)
		error = read_name(reader, bytes);
	reader->at = record_header_bytes(&reader->header);
	reader->disk_size = reader->header.disk_size;
	return error;
}

static const char *header_trouble(int error)
{
	switch (error) {
	case -EINVAL:
	case -ENODATA:
		return "not a record";
	case -EPROTONOSUPPORT:
		return "a record of another version";
	case -EBADMSG:
		return "the header is damaged";
	default:
		return strerror(-error);
	}
}

int record_reader_open(struct record_reader *reader, const char *path, char *why, size_t why_size)
{
	int error;

	*reader = (struct record_reader){ .path = path };
	reader->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (reader->fd < 0) {
		error = -errno;
		snprintf(why, why_size, "%s: open: %s", path, strerror(-error));
		return error;
	}
	error = read_header(reader);
	if (error) {
		snprintf(why, why_size, "%s: %s", path, header_trouble(error));
		record_reader_close(reader);
	}
	return error;
}

void record_reader_close(struct record_reader *reader)
{
	close(reader->fd);
	free(reader->name);
	free(reader->buffer);
}

static int refuse(const struct record_reader *reader, const char *what, char *why, size_t why_size)
{
	snprintf(why, why_size, "%s: entry %" PRIu64 ", at byte %" PRIu64 ": %s", reader->path,
		reader->sequence, reader->at, what);
	return -EBADMSG;
}

/* Returns 0 with the sum of the data that follows, or -errno. */
static int sum_data(const struct record_reader *reader, const struct record_entry *entry, uint32_t *sum)
{
	*sum = 0;
	for (uint32_t done = 0; done < entry->data_bytes;) {
		uint32_t step =
			entry->data_bytes - done < BUFFER_BYTES ? entry->data_bytes - done : BUFFER_BYTES;
		int error = read_all(reader->fd, reader->buffer, step, reader->data_at + done);

		if (error)
			return error;
		*sum = crc32c(*sum, reader->buffer, step);
		done += step;
	}
	return 0;
}

/* Its head is whole and makes sense; is its data? Returns 1, 0 or -errno, as record_reader_next(). */
static int take_data(struct record_reader *reader, const uint8_t bytes[RECORD_ENTRY_BYTES],
	const struct record_entry *entry, char *why, size_t why_size)
{
	uint32_t sum;
	int error;

	if (entry->data_bytes > reader->file_size - reader->data_at) {
		reader->is_cut = true;
		return 0;
	}
	error = sum_data(reader, entry, &sum);
	if (error) {
		snprintf(why, why_size, "%s: read: %s", reader->path, strerror(-error));
		return error;
	}
	if (!record_entry_is_whole(bytes, sum))
		return refuse(reader, "the checksum is wrong", why, why_size);
	reader->at = reader->data_at + entry->data_bytes;
	reader->sequence++;
	if (entry->event == RECORD_SIZE)
		reader->disk_size = entry->offset;
	return 1;
}

int record_reader_next(struct record_reader *reader, struct record_entry *entry, char *why, size_t why_size)
{
	uint8_t bytes[RECORD_ENTRY_BYTES];
	const char *wrong;
	int error;

	if (reader->file_size - reader->at < sizeof(bytes)) {
		reader->is_cut = reader->file_size > reader->at;
		return 0;
	}
	error = read_all(reader->fd, bytes, sizeof(bytes), reader->at);
	if (error) {
		snprintf(why, why_size, "%s: read: %s", reader->path, strerror(-error));
		return error;
	}
	if (record_entry_read(bytes, entry))
		return refuse(reader, "no entry is there", why, why_size);
	wrong = record_entry_check(entry, reader->sequence, reader->disk_size);
	if (wrong)
		return refuse(reader, wrong, why, why_size);
	reader->data_at = reader->at + sizeof(bytes);
	return take_data(reader, bytes, entry, why, why_size);
}
