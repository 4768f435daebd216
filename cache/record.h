/* cache/record.h -- a disk above any disk that writes down every request, with its data, in a file
 * (cache/record_format.h), from which vnbd-replay builds what the disk may hold after a power cut at any moment.
 *
 * It belongs right below a cache mode, where it sees what a disk would see: FUA on every write where the mode wants that, no
 * flushes where the mode drops them. It is started and stopped while requests run; those in flight then are half in the file,
 * or not at all.
 *
 * Nothing is buffered: an entry has been given to write(2) before the request goes on. What a client has been told of is in
 * the file even if the server is killed. So a slow filesystem under the file slows the export down. A file that
 * cannot be written to ends the recording, with a line in the log, and never a request.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "cache/disk.h"

/* record_new() - a disk above @below that records nothing yet. @below: borrowed: outlives it.
 * Returns 0, or -ENOMEM. disk_free() ends a recording. */
int record_new(struct disk *below, struct disk **out);

struct record_about {
	const char *path; /* of the file, which must not exist */
	const char *name; /* the export's */
	const char *mode; /* the cache mode's name */
};

/* record_start() - from now on write down what is submitted. Any thread.
 * Returns 0; -EBUSY: it does so already; -EEXIST and others of open(2), write(2), -ENOMEM: with a line in @why. */
int record_start(struct disk *record, const struct record_about *about, char *why, size_t why_size);

struct record_counts {
	uint64_t bytes, requests; /* the file's, whole entries; submissions in it */
	int error;		  /* 0; or -errno: what ended it early */
};

/* record_stop() - end what record_start() began. Any thread. @counts: what is in the file.
 * Returns the file's path, to be free()d by the caller; or NULL: nothing was being recorded. */
char *record_stop(struct disk *record, struct record_counts *counts);
