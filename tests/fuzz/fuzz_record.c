/* A file that is said to be a record, with any entries: what is taken is in order and within the disk, and states are made of
 * it at every moment. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cache/crash.h"
#include "cache/crc32c.h"
#include "cache/record_format.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ENTRIES = 24, DISK = 1 << 16, FILE_MAX = 64 << 10, ENUMERATED = 64 };

static uint8_t file[FILE_MAX];
static size_t length;

static void put(const void *bytes, size_t count)
{
	if (count > sizeof(file) - length)
		count = sizeof(file) - length;
	memcpy(file + length, bytes, count);
	length += count;
}

/* Mostly with right sums and numbers, and with fields that may be anything. */
static void put_entry(struct input *input, uint64_t sequence)
{
	static const uint8_t data[64] = "data";
	uint8_t bytes[RECORD_ENTRY_BYTES];
	struct record_entry entry = { .sequence = sequence };
	unsigned kind = (unsigned)next(input, 1);

	entry.event = (enum record_event)(kind & 3);
	entry.op = kind >> 2 & 7;
	entry.flags = (unsigned)next(input, 1);
	entry.request = entry.event == RECORD_SUBMITTED && kind < 240 ? sequence : next(input, 1);
	entry.offset = next(input, kind >= 248 ? 8 : 1) * 16;
	entry.length = entry.event == RECORD_SUBMITTED ? next(input, kind >= 250 ? 8 : 1) % 65 : 0;
	entry.status = (int)(next(input, 1) & 1);
	entry.data_bytes = entry.event == RECORD_SUBMITTED && entry.op == 1 ? (uint32_t)entry.length : 0;
	record_entry_write(&entry, crc32c(0, data, entry.data_bytes > 64 ? 0 : entry.data_bytes), bytes);
	bytes[next(input, 1) % RECORD_ENTRY_BYTES] ^= kind == 255;
	put(bytes, sizeof(bytes));
	put(data, entry.data_bytes > 64 ? 0 : entry.data_bytes);
}

static int apply(void *context, const struct history_request *request, uint64_t offset, uint64_t part)
{
	const struct history *history = context;

	if (part == 0 || offset < request->offset || offset + part > request->offset + request->length ||
		offset + part > history->disk_size)
		abort();
	return 0;
}

static int settle(void *context, const struct history_request *request)
{
	return apply(context, request, request->offset, request->length);
}

static void crash_everywhere(struct history *history, uint32_t tear_size)
{
	struct crash crash;

	crash_init(&crash, history);
	for (uint64_t at = 0; at <= history->entries; at++) {
		uint64_t states;

		if (crash_move(&crash, at, tear_size, settle, history))
			abort();
		states = crash_states(&crash);
		for (uint64_t i = 0; i < states && i < ENUMERATED; i++)
			if (crash_choose(&crash,
				    &(struct crash_choice){ CRASH_ENUMERATED, states - 1 - i, tear_size },
				    apply, history))
				abort();
		if (crash_choose(&crash, &(struct crash_choice){ CRASH_SEED, at, tear_size }, apply, history))
			abort();
	}
	crash_fini(&crash);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	const struct record_header header = { .disk_size = DISK, .block_size = 1, .mode = "none" };
	struct history history;
	char path[64], why[256];
	unsigned manner = (unsigned)next(&input, 1);
	int fd = memfd_create("record", MFD_CLOEXEC);

	length = 0;
	if (manner & 1) {
		record_header_write(&header, "", file);
		length = RECORD_HEADER_BYTES;
		for (unsigned i = 0; i < ENTRIES && input.size > 0; i++)
			put_entry(&input, i);
	} else {
		put(input.data, input.size);
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fd < 0 || write(fd, file, length) != (ssize_t)length)
		abort();
	if (history_load(&history, path, why, sizeof(why)) == 0) {
		crash_everywhere(&history, manner & 2 ? 16 : 0);
		history_free(&history);
	}
	close(fd);
	return 0;
}
