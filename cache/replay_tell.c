/* cache/replay_tell.c -- vnbd-replay info, list and count: what is in a record. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cache/block.h"
#include "cache/crash_order.h"
#include "cache/replay.h"
#include "conf/log.h"

static const char *const op_names[BLOCK_OPS] = {
	[BLOCK_READ] = "read",
	[BLOCK_WRITE] = "write",
	[BLOCK_FLUSH] = "flush",
	[BLOCK_TRIM] = "trim",
	[BLOCK_ZERO] = "zero",
	[BLOCK_CACHE] = "cache",
	[BLOCK_STATUS] = "status",
};

/* info */

struct sum {
	uint64_t requests, bytes, fua, failed, unanswered;
};

static void print_sums(const struct history *history)
{
	struct sum sums[BLOCK_OPS] = { 0 };

	for (size_t i = 0; i < history->request_count; i++) {
		const struct history_request *request = &history->requests[i];
		struct sum *sum = &sums[request->op];

		sum->requests++;
		sum->bytes += request->length;
		sum->fua += request->flags & BLOCK_FUA;
		sum->failed += request->completed != HISTORY_NEVER && request->status != 0;
		sum->unanswered += request->completed == HISTORY_NEVER;
	}
	printf("\n%-8s %12s %16s %10s %8s %10s\n", "", "requests", "bytes", "fua", "failed", "unanswered");
	for (int op = 0; op < BLOCK_OPS; op++)
		if (sums[op].requests)
			printf("%-8s %12" PRIu64 " %16" PRIu64 " %10" PRIu64 " %8" PRIu64 " %10" PRIu64 "\n",
				op_names[op], sums[op].requests, sums[op].bytes, sums[op].fua,
				sums[op].failed, sums[op].unanswered);
}

int replay_info(const struct replay *replay, struct history *history)
{
	const struct record_header *header = &history->reader.header;
	time_t second = (time_t)(header->started_ns / 1000000000u);
	char name[1024], began[64] = "";
	struct tm when;

	(void)replay;
	if (gmtime_r(&second, &when))
		strftime(began, sizeof(began), "%Y-%m-%d %H:%M:%S UTC", &when);
	printf("export            '%s'\n",
		log_quote(name, sizeof(name), history->reader.name, header->name_bytes));
	printf("cache mode        %s\n", log_quote(name, sizeof(name), header->mode, strlen(header->mode)));
	printf("disk              %" PRIu64 " bytes, in blocks of %u\n", header->disk_size,
		header->block_size);
	printf("began             %s, for %.3f s\n", began, (double)history->time_ns / 1e9);
	printf("entries           %" PRIu64 "%s\n", history->entries,
		history->reader.is_cut ? ", and one that is not whole" : "");
	printf("flush boundaries  %zu\n", history->flush_count);
	print_sums(history);
	return REPLAY_OK;
}

/* list */

static const char *op_name(unsigned op)
{
	return op < BLOCK_OPS ? op_names[op] : "?";
}

static const char *flag_names(unsigned flags, char *out, size_t out_size)
{
	snprintf(out, out_size, "%s%s%s%s", flags & BLOCK_FUA ? " fua" : "",
		flags & BLOCK_NO_HOLE ? " no-hole" : "", flags & BLOCK_FAST_ZERO ? " fast-zero" : "",
		flags & BLOCK_ONE_EXTENT ? " one-extent" : "");
	return out + (*out == ' ');
}

static void print_entry(const struct record_entry *entry)
{
	char flags[64];

	printf("%10" PRIu64 " %12.6f  ", entry->sequence, (double)entry->time_ns / 1e9);
	if (entry->event == RECORD_SIZE)
		printf("the disk has %" PRIu64 " bytes\n", entry->offset);
	else if (entry->event == RECORD_COMPLETED)
		printf("%-6s of %" PRIu64 " ended: %s\n", op_name(entry->op), entry->request,
			entry->status ? strerror(-entry->status) : "success");
	else if (entry->op == BLOCK_FLUSH)
		printf("%s\n", op_name(entry->op));
	else
		printf("%-6s %" PRIu64 "+%" PRIu64 " %s\n", op_name(entry->op), entry->offset, entry->length,
			flag_names(entry->flags, flags, sizeof(flags)));
}

static void print_json(const struct record_entry *entry)
{
	static const char *const events[] = {
		[RECORD_SUBMITTED] = "submitted", [RECORD_COMPLETED] = "completed", [RECORD_SIZE] = "size"
	};

	printf("{\"entry\":%" PRIu64 ",\"time_ns\":%" PRIu64 ",\"event\":\"%s\"", entry->sequence,
		entry->time_ns, events[entry->event]);
	if (entry->event == RECORD_SIZE) {
		printf(",\"size\":%" PRIu64 "}\n", entry->offset);
		return;
	}
	printf(",\"request\":%" PRIu64 ",\"op\":\"%s\"", entry->request, op_name(entry->op));
	if (entry->event == RECORD_COMPLETED)
		printf(",\"errno\":%u}\n", 0u - (unsigned)entry->status);
	else
		printf(",\"offset\":%" PRIu64 ",\"length\":%" PRIu64 ",\"fua\":%s}\n", entry->offset,
			entry->length, entry->flags & BLOCK_FUA ? "true" : "false");
}

int replay_list(const struct replay *replay, struct history *history)
{
	struct record_reader reader;
	struct record_entry entry;
	char why[512];
	int more;

	(void)history;
	if (record_reader_open(&reader, replay->record, why, sizeof(why))) {
		log_error("%s", why);
		return REPLAY_FAILED;
	}
	while ((more = record_reader_next(&reader, &entry, why, sizeof(why))) > 0) {
		if (replay->json)
			print_json(&entry);
		else
			print_entry(&entry);
	}
	if (more < 0)
		log_error("%s", why);
	record_reader_close(&reader);
	return more < 0 ? REPLAY_FAILED : REPLAY_OK;
}

/* count */

static int settle_nothing(void *context, const struct history_request *request)
{
	(void)context;
	(void)request;
	return 0;
}

int replay_count(const struct replay *replay, struct history *history)
{
	uint64_t at, states, orders;
	struct crash crash;
	int error;

	if (replay_moment(&replay->at, history, &at))
		return REPLAY_FAILED;
	crash_init(&crash, history);
	error = crash_move(&crash, at, replay->choice.tear_size, settle_nothing, NULL);
	states = crash_states(&crash);
	orders = crash_order_count(&crash);
	printf("moment            entry %" PRIu64 " of %" PRIu64 "\n", at, history->entries);
	printf("durable changes   %zu\n", crash.end - crash.optional_count);
	printf("optional changes  %zu\n", crash.optional_count);
	if (orders == UINT64_MAX)
		printf("orders            too many to be counted\n");
	else
		printf("orders            %" PRIu64 "\n", orders);
	if (states)
		printf("states            %" PRIu64 "\n", states);
	else
		printf("states            %s%" PRIu64 " times the orders\n", "2^", crash.optional_sectors);
	crash_fini(&crash);
	if (error)
		log_error("out of memory");
	return error ? REPLAY_FAILED : REPLAY_OK;
}
