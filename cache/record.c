/* cache/record.c -- one lock around the file: the order of its entries is the order in which requests came and were
 * answered, whichever threads they belong to.
 *
 * R1  A submission is in the file before the disk below has the request; a completion, before who asked hears of it.
 * R2  Entries in the file are whole: what a failed write leaves of one is cut off, and nothing follows.
 * R3  A completion is written only to the file that has its submission. */
#include "cache/record.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "cache/crc32c.h"
#include "cache/record_format.h"
#include "conf/container.h"
#include "conf/log.h"

/* Pieces of data that one call of pwritev(2) is given. */
enum { PIECES = 64 };

#define NOT_RECORDED UINT64_MAX

struct record {
	struct disk disk;
	struct disk *below; /* borrowed: outlives us because its owner frees it later */

	pthread_mutex_t lock;
	/* All that follows is shared: under lock. */
	char *path; /* owned; NULL: no recording has been started */
	int fd;	    /* owned; -1: nothing is written, or no longer */
	unsigned number;
	struct record_counts counts;
	uint64_t entries, disk_size, started_ns;
};

/* A request, on its way. */
struct recorded {
	struct block_req req;
	struct record *record;
	struct block_req *above;
	unsigned number;  /* of the recording */
	uint64_t request; /* in it; or NOT_RECORDED */
};

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The file. Everything here: under lock. */

/* Drops @bytes from the front of @pieces. Returns the first that is left. */
static unsigned skip_pieces(struct iovec *pieces, unsigned first, size_t bytes)
{
	while (bytes > 0 && bytes >= pieces[first].iov_len)
		bytes -= pieces[first++].iov_len;
	if (bytes > 0) {
		pieces[first].iov_base = (char *)pieces[first].iov_base + bytes;
		pieces[first].iov_len -= bytes;
	}
	return first;
}

/* Consumes @pieces, which are not empty. Returns 0 or -errno. */
static int write_pieces(int fd, struct iovec *pieces, unsigned count, uint64_t *at)
{
	for (unsigned first = 0; first < count;) {
		ssize_t done = pwritev(fd, pieces + first, (int)(count - first), (off_t)*at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		*at += (uint64_t)done;
		first = skip_pieces(pieces, first, (size_t)done);
	}
	return 0;
}

/* Returns 0 or -errno. */
static int write_behind(
	struct record *record, void *head, size_t head_bytes, const struct iovec *data, unsigned count)
{
	struct iovec pieces[PIECES] = { { .iov_base = head, .iov_len = head_bytes } };
	uint64_t at = record->counts.bytes;
	unsigned filled = 1;
	int error;

	do {
		for (; filled < PIECES && count > 0; count--, data++)
			if (data->iov_len > 0)
				pieces[filled++] = *data;
		error = write_pieces(record->fd, pieces, filled, &at);
		filled = 0;
	} while (!error && count > 0);
	if (!error)
		record->counts.bytes = at;
	return error;
}

static void give_up(struct record *record, int error)
{
	if (record->fd < 0)
		return;
	log_error("%s: write: %s; the recording ends here, after %ju requests", record->path,
		strerror(-error), (uintmax_t)record->counts.requests);
	record->counts.error = error;
	if (ftruncate(record->fd, (off_t)record->counts.bytes) < 0)
		log_error("%s: ftruncate: %s", record->path, strerror(errno));
	close(record->fd);
	record->fd = -1;
}

static void add_entry(
	struct record *record, struct record_entry *entry, uint32_t data_sum, const struct block_req *data)
{
	uint8_t bytes[RECORD_ENTRY_BYTES];
	int error;

	entry->time_ns = now_ns(CLOCK_MONOTONIC) - record->started_ns;
	record_entry_write(entry, data_sum, bytes);
	error = write_behind(
		record, bytes, sizeof(bytes), data ? data->iov : NULL, data ? data->iov_count : 0);
	if (error)
		give_up(record, error);
	else
		record->entries++;
}

static void add_size(struct record *record)
{
	struct record_entry entry = { .event = RECORD_SIZE, .sequence = record->entries };

	if (record->below->facts.size == record->disk_size)
		return;
	record->disk_size = record->below->facts.size;
	entry.offset = record->disk_size;
	add_entry(record, &entry, 0, NULL);
}

static void add_submission(struct record *record, struct recorded *own, uint32_t data_sum)
{
	const struct block_req *req = &own->req;
	bool has_data = req->op == BLOCK_WRITE;
	struct record_entry entry = {
		.event = RECORD_SUBMITTED,
		.op = req->op,
		.flags = req->flags,
		.offset = req->op == BLOCK_FLUSH ? 0 : req->offset,
		.length = req->op == BLOCK_FLUSH ? 0 : req->length,
		.data_bytes = has_data ? (uint32_t)req->length : 0,
	};

	entry.sequence = entry.request = record->entries;
	add_entry(record, &entry, data_sum, has_data ? req : NULL);
	if (record->fd < 0)
		return;
	own->number = record->number;
	own->request = entry.request;
	record->counts.requests++;
}

/* A request's way. */

static uint32_t sum_of_data(const struct block_req *req)
{
	uint32_t sum = 0;

	if (req->op == BLOCK_WRITE)
		for (unsigned i = 0; i < req->iov_count; i++)
			sum = crc32c(sum, req->iov[i].iov_base, req->iov[i].iov_len);
	return sum;
}

static void note_submission(struct record *record, struct recorded *own)
{
	uint32_t sum = sum_of_data(&own->req);

	pthread_mutex_lock(&record->lock);
	if (record->fd >= 0)
		add_size(record);
	if (record->fd >= 0)
		add_submission(record, own, sum);
	pthread_mutex_unlock(&record->lock);
}

static void note_completion(struct record *record, const struct recorded *own, int status)
{
	struct record_entry entry = {
		.event = RECORD_COMPLETED, .request = own->request, .op = own->req.op, .status = status
	};

	if (own->request == NOT_RECORDED)
		return;
	pthread_mutex_lock(&record->lock);
	if (record->fd >= 0 && record->number == own->number) {
		entry.sequence = record->entries;
		add_entry(record, &entry, 0, NULL);
	}
	pthread_mutex_unlock(&record->lock);
}

static struct block_req *end(struct recorded *own, int status)
{
	struct block_req *above = own->above;

	note_completion(own->record, own, status);
	above->extents = own->req.extents;
	free(own);
	return above;
}

static void on_done(struct block_req *req, int status)
{
	struct block_req *above = end(container_of(req, struct recorded, req), status);

	above->done(above, status);
}

static struct record *record_of(struct disk *disk)
{
	return container_of(disk, struct record, disk);
}

static int record_submit(struct disk *disk, struct block_req *req)
{
	struct record *record = record_of(disk);
	struct recorded *own = malloc(sizeof(*own));
	int status;

	if (!own) {
		pthread_mutex_lock(&record->lock);
		give_up(record, -ENOMEM);
		pthread_mutex_unlock(&record->lock);
		return disk_submit(record->below, req);
	}
	*own = (struct recorded){ .req = *req, .record = record, .above = req, .request = NOT_RECORDED };
	own->req.done = on_done;
	note_submission(record, own);
	status = disk_submit(record->below, &own->req);
	if (status != DISK_PENDING)
		end(own, status);
	return status;
}

/* Start and stop. */

static int write_header(struct record *record, const struct record_about *about)
{
	struct record_header header = {
		.disk_size = record->below->facts.size,
		.started_ns = now_ns(CLOCK_REALTIME),
		.block_size = record->below->facts.block_size_min,
		.name_bytes = (uint32_t)strnlen(about->name, RECORD_NAME_MAX),
	};
	struct iovec name = { .iov_base = (char *)about->name, .iov_len = header.name_bytes };
	uint8_t bytes[RECORD_HEADER_BYTES];

	snprintf(header.mode, sizeof(header.mode), "%s", about->mode);
	record->disk_size = header.disk_size;
	record->started_ns = now_ns(CLOCK_MONOTONIC);
	record_header_write(&header, about->name, bytes);
	return write_behind(record, bytes, sizeof(bytes), &name, 1);
}

/* Under lock. Leaves nothing behind where it fails. */
static int begin(struct record *record, const struct record_about *about, const char **step)
{
	int error;

	record->counts = (struct record_counts){ 0 };
	record->entries = 0;
	record->number++;
	*step = "open";
	record->fd = open(about->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (record->fd < 0)
		return -errno;
	*step = "write";
	error = write_header(record, about);
	record->path = error ? NULL : strdup(about->path);
	if (record->path)
		return 0;
	close(record->fd);
	record->fd = -1;
	unlink(about->path);
	return error ? error : -ENOMEM;
}

int record_start(struct disk *disk, const struct record_about *about, char *why, size_t why_size)
{
	struct record *record = record_of(disk);
	const char *step;
	int error = 0;

	pthread_mutex_lock(&record->lock);
	if (record->path) {
		error = -EBUSY;
		snprintf(why, why_size, "it is recorded in %s already", record->path);
	} else {
		error = begin(record, about, &step);
		if (error)
			snprintf(why, why_size, "%s: %s: %s", about->path, step, strerror(-error));
	}
	pthread_mutex_unlock(&record->lock);
	return error;
}

char *record_stop(struct disk *disk, struct record_counts *counts)
{
	struct record *record = record_of(disk);
	char *path;

	pthread_mutex_lock(&record->lock);
	path = record->path;
	*counts = record->counts;
	record->path = NULL;
	if (record->fd >= 0)
		close(record->fd);
	record->fd = -1;
	pthread_mutex_unlock(&record->lock);
	return path;
}

static void record_measure(struct disk *disk)
{
	struct record *record = record_of(disk);

	disk_measure(record->below);
	disk->facts.size = record->below->facts.size;
}

static void record_free(struct disk *disk)
{
	struct record *record = record_of(disk);
	struct record_counts counts;

	free(record_stop(disk, &counts));
	pthread_mutex_destroy(&record->lock);
	free(record);
}

int record_new(struct disk *below, struct disk **out)
{
	static const struct disk_ops ops = {
		.submit = record_submit, .measure = record_measure, .free = record_free
	};
	struct record *record = calloc(1, sizeof(*record));

	if (!record)
		return -ENOMEM;
	record->disk.ops = &ops;
	record->disk.facts = below->facts;
	record->below = below;
	record->fd = -1;
	pthread_mutex_init(&record->lock, NULL);
	*out = &record->disk;
	return 0;
}
