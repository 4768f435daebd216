/* Threads that write one recorded disk at once leave a record from which everything they did is rebuilt, though it is started and
 * stopped meanwhile.  If this fails, the record of a server with several workers is of another disk. */
#include "tests/unit/cells.h"

#include <stdatomic.h>

#include "cache/crash.h"
#include "cache/record.h"

enum { ROUNDS = 500, RESTARTS = 20 };

struct rebuilt {
	const struct history *history;
	uint8_t *bytes; /* owned */
};

static int put(void *context, const struct history_request *request, uint64_t offset, uint64_t length)
{
	struct rebuilt *rebuilt = context;

	if (request->op == BLOCK_WRITE)
		return pread(rebuilt->history->reader.fd, rebuilt->bytes + offset, length,
			       (off_t)(request->data_at + offset - request->offset)) == (ssize_t)length
			       ? 0
			       : -EIO;
	memset(rebuilt->bytes + offset, 0, length);
	return 0;
}

static int settle(void *context, const struct history_request *request)
{
	return put(context, request, request->offset, request->length);
}

static void rebuild(const char *path, uint64_t size, struct rebuilt *rebuilt, struct history *history)
{
	struct crash crash;
	char why[512];

	if (history_load(history, path, why, sizeof(why)) != 0)
		fail_msg("%s", why);
	rebuilt->history = history;
	rebuilt->bytes = calloc(1, size);
	crash_init(&crash, history);
	assert_int_equal(crash_move(&crash, history->entries, 0, settle, rebuilt), 0);
	assert_int_equal(crash_choose(&crash, &(struct crash_choice){ .kind = CRASH_ALL }, put, rebuilt), 0);
	crash_fini(&crash);
}

static void open_both(uint64_t size, struct disk **below, struct disk **record)
{
	char path[256];

	temporary_file(path, sizeof(path), size);
	*below = open_cache(path, "writeback");
	assert_int_equal(record_new(*below, record), 0);
}

static void start_recording(struct disk *record, char *path, size_t path_size)
{
	struct record_about about = { .path = path, .name = "", .mode = "writeback" };
	char why[512];

	temporary_file(path, path_size, 0);
	unlink(path);
	if (record_start(record, &about, why, sizeof(why)) != 0)
		fail_msg("%s", why);
}

static void everything_is_there(void **state)
{
	uint64_t size = cut_cells(5);
	struct disk *below, *record;
	struct record_counts counts;
	struct history history;
	struct rebuilt rebuilt;
	char path[256];

	(void)state;
	open_both(size, &below, &record);
	start_recording(record, path, sizeof(path));
	hammer(record, 5, ROUNDS);
	free(record_stop(record, &counts));
	assert_int_equal(counts.requests, THREADS * ROUNDS);
	rebuild(path, size, &rebuilt, &history);
	assert_int_equal(history.request_count, THREADS * ROUNDS);
	for (int i = 0; i < CELLS; i++)
		assert_memory_equal(rebuilt.bytes + cells[i].start, cells[i].model, cells[i].length);
	free(rebuilt.bytes);
	history_free(&history);
	disk_free(record);
	disk_free(below);
	drop_cells();
}

static struct disk *restarted;
static atomic_bool enough;

/* The last record is not stopped. */
static void *restart(void *arg)
{
	char path[256];
	struct record_counts counts;

	(void)arg;
	for (int i = 0; i < RESTARTS && !enough; i++) {
		free(record_stop(restarted, &counts));
		start_recording(restarted, path, sizeof(path));
	}
	return NULL;
}

static void starts_and_stops_meanwhile(void **state)
{
	uint64_t size = cut_cells(6);
	struct disk *below;
	struct record_counts counts;
	struct history history;
	struct rebuilt rebuilt;
	pthread_t thread;
	char *path;

	(void)state;
	open_both(size, &below, &restarted);
	assert_int_equal(pthread_create(&thread, NULL, restart, NULL), 0);
	hammer(restarted, 6, ROUNDS);
	enough = true;
	pthread_join(thread, NULL);
	path = record_stop(restarted, &counts);
	rebuild(path, size, &rebuilt, &history);
	assert_int_equal(history.request_count, counts.requests);
	free(path);
	free(rebuilt.bytes);
	history_free(&history);
	disk_free(restarted);
	disk_free(below);
	drop_cells();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_is_there),
		cmocka_unit_test(starts_and_stops_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
