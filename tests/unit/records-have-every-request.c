/* A record has every request, in the order in which the disk saw it and answered, with its bytes; wherever its writer was killed
 * or its file was full it is read up to there; and damage is told, with its place.  If this fails, a crash test builds
 * states that the disk was never in. */
#include "tests/unit/record_file.h"

#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "cache/disk_memory.h"
#include "cache/record.h"
#include "cache/record_reader.h"
#include "conf/log.h"

enum { SIZE = 1 << 20, SMALL = 3000 };

static struct uring ring;
static struct disk *below, *record;

static int start(void **state)
{
	(void)state;
	assert_int_equal(uring_init(&ring), 0);
	assert_int_equal(disk_memory_open(SIZE, &below), 0);
	assert_int_equal(record_new(below, &record), 0);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	disk_free(record);
	disk_free(below);
	uring_fini(&ring);
	return 0;
}

/* A path that nothing has, removed at the end. */
static void fresh_path(char *path, size_t size)
{
	temporary_file(path, size, 0);
	unlink(path);
}

static void start_recording(const char *path)
{
	const struct record_about about = { .path = path, .name = "an export", .mode = "writeback" };
	char why[256];

	if (record_start(record, &about, why, sizeof(why)) != 0)
		fail_msg("%s", why);
}

static struct record_counts stop_recording(const char *path)
{
	struct record_counts counts;
	char *said = record_stop(record, &counts);

	assert_string_equal(said, path);
	free(said);
	return counts;
}

static void open_record(struct record_reader *reader, const char *path)
{
	char why[256];

	if (record_reader_open(reader, path, why, sizeof(why)) != 0)
		fail_msg("%s", why);
}

static void expect_next(struct record_reader *reader, struct record_entry expected, const void *data)
{
	struct record_entry entry;
	char why[256], found[SMALL];

	assert_int_equal(record_reader_next(reader, &entry, why, sizeof(why)), 1);
	assert_int_equal(entry.event, expected.event);
	assert_int_equal(entry.op, expected.op);
	assert_int_equal(entry.flags, expected.flags);
	assert_int_equal(entry.request, expected.request);
	assert_int_equal(entry.offset, expected.offset);
	assert_int_equal(entry.length, expected.length);
	assert_int_equal(entry.status, expected.status);
	if (!data)
		return;
	assert_int_equal(
		pread(reader->fd, found, entry.data_bytes, (off_t)reader->data_at), entry.data_bytes);
	assert_memory_equal(found, data, entry.data_bytes);
}

static void every_request(void **state)
{
	struct record_counts counts;
	struct record_reader reader;
	struct record_entry entry;
	char path[256], why[256], data[SMALL], back[SMALL];

	(void)state;
	fresh_path(path, sizeof(path));
	memset(data, 'x', sizeof(data));
	assert_int_equal(ask_range(record, &ring, BLOCK_FLUSH, 0, 0, 0), 0); /* before: not in it */
	start_recording(path);
	assert_int_equal(ask_data(record, &ring, BLOCK_WRITE, 0, 5, data, sizeof(data)), 0);
	/* Of which neither means anything. */
	assert_int_equal(ask_range(record, &ring, BLOCK_FLUSH, 0, 512, 1024), 0);
	assert_int_equal(ask_range(record, &ring, BLOCK_ZERO, BLOCK_FUA | BLOCK_NO_HOLE, 6, 100), 0);
	assert_int_equal(
		ask_range(record, &ring, BLOCK_TRIM, 0, 4096, SIZE - 4096), 0); /* takes turns of the ring */
	assert_int_equal(ask_data(record, &ring, BLOCK_READ, 0, 5, back, sizeof(back)), 0);
	counts = stop_recording(path);
	assert_int_equal(ask_range(record, &ring, BLOCK_FLUSH, 0, 0, 0), 0); /* after */
	assert_int_equal(back[0], 'x');
	assert_int_equal(back[1], 0);
	assert_int_equal(counts.requests, 5);
	assert_int_equal(counts.error, 0);

	open_record(&reader, path);
	assert_string_equal(reader.name, "an export");
	assert_string_equal(reader.header.mode, "writeback");
	assert_int_equal(reader.header.disk_size, SIZE);
	expect_next(&reader,
		(struct record_entry){
			.event = RECORD_SUBMITTED, .op = BLOCK_WRITE, .offset = 5, .length = SMALL },
		data);
	expect_next(&reader, (struct record_entry){ .event = RECORD_COMPLETED, .op = BLOCK_WRITE }, NULL);
	expect_next(&reader,
		(struct record_entry){ .event = RECORD_SUBMITTED, .op = BLOCK_FLUSH, .request = 2 }, NULL);
	expect_next(&reader,
		(struct record_entry){ .event = RECORD_COMPLETED, .op = BLOCK_FLUSH, .request = 2 }, NULL);
	expect_next(&reader,
		(struct record_entry){ .event = RECORD_SUBMITTED,
			.op = BLOCK_ZERO,
			.request = 4,
			.flags = BLOCK_FUA | BLOCK_NO_HOLE,
			.offset = 6,
			.length = 100 },
		NULL);
	expect_next(&reader,
		(struct record_entry){ .event = RECORD_COMPLETED, .op = BLOCK_ZERO, .request = 4 }, NULL);
	expect_next(&reader,
		(struct record_entry){ .event = RECORD_SUBMITTED,
			.op = BLOCK_TRIM,
			.request = 6,
			.offset = 4096,
			.length = SIZE - 4096 },
		NULL);
	expect_next(&reader,
		(struct record_entry){ .event = RECORD_COMPLETED, .op = BLOCK_TRIM, .request = 6 }, NULL);
	expect_next(&reader,
		(struct record_entry){ .event = RECORD_SUBMITTED,
			.op = BLOCK_READ,
			.request = 8,
			.offset = 5,
			.length = SMALL },
		NULL);
	expect_next(&reader,
		(struct record_entry){ .event = RECORD_COMPLETED, .op = BLOCK_READ, .request = 8 }, NULL);
	assert_int_equal(record_reader_next(&reader, &entry, why, sizeof(why)), 0);
	assert_false(reader.is_cut);
	assert_int_equal(reader.at, counts.bytes);
	record_reader_close(&reader);
}

/* How many entries are read before the end. */
static unsigned entries_of(const char *path, bool *is_cut)
{
	struct record_reader reader;
	struct record_entry entry;
	char why[256];
	unsigned count = 0;
	int more;

	open_record(&reader, path);
	while ((more = record_reader_next(&reader, &entry, why, sizeof(why))) > 0)
		count++;
	if (more < 0)
		fail_msg("%s", why);
	*is_cut = reader.is_cut;
	record_reader_close(&reader);
	return count;
}

static void starts_and_stops(void **state)
{
	const struct record_about about = { .name = "", .mode = "none" };
	struct record_about at = about;
	struct record_counts counts;
	char path[256], why[512];
	bool is_cut;

	(void)state;
	fresh_path(path, sizeof(path));
	assert_null(record_stop(record, &counts));
	start_recording(path);
	at.path = path;
	assert_int_equal(record_start(record, &at, why, sizeof(why)), -EBUSY);
	assert_non_null(strstr(why, "already"));
	stop_recording(path);
	assert_int_equal(record_start(record, &at, why, sizeof(why)), -EEXIST);
	assert_non_null(strstr(why, path));
	assert_non_null(strstr(why, "File exists"));
	at.path = "/nowhere/file";
	assert_int_equal(record_start(record, &at, why, sizeof(why)), -ENOENT);
	assert_null(record_stop(record, &counts));
	/* Each begins anew. */
	for (int i = 0; i < 2; i++) {
		fresh_path(path, sizeof(path));
		start_recording(path);
		assert_int_equal(ask_range(record, &ring, BLOCK_ZERO, 0, 0, 100), 0);
		assert_int_equal(stop_recording(path).requests, 1);
		assert_int_equal(entries_of(path, &is_cut), 2);
	}
}

/* A disk that looks into the record when it is asked, and answers later. */
struct looking {
	struct disk disk;
	const char *path;
	unsigned entries; /* there were, when it was asked */
	struct block_req *asked;
};

static int looking_submit(struct disk *disk, struct block_req *req)
{
	struct looking *looking = container_of(disk, struct looking, disk);
	bool is_cut;

	looking->entries = entries_of(looking->path, &is_cut);
	looking->asked = req;
	return DISK_PENDING;
}

static const struct disk_ops looking_ops = { .submit = looking_submit };
static struct looking looking;
static unsigned entries_when_done;

static void on_done(struct block_req *req, int status)
{
	bool is_cut;

	(void)req;
	assert_int_equal(status, -ENOSPC);
	entries_when_done = entries_of(looking.path, &is_cut);
}

/* A recording of a disk that looks at it. */
static struct disk *record_looking(char *path, size_t path_size)
{
	struct record_about about = { .path = path, .name = "", .mode = "none" };
	struct disk *disk;
	char why[256];

	fresh_path(path, path_size);
	looking =
		(struct looking){ .disk = { .ops = &looking_ops, .facts = { .size = SIZE } }, .path = path };
	assert_int_equal(record_new(&looking.disk, &disk), 0);
	assert_int_equal(record_start(disk, &about, why, sizeof(why)), 0);
	return disk;
}

/* R1 */
static void written_before_anybody_hears(void **state)
{
	char path[256], data[SMALL] = { 0 };
	struct disk *disk = record_looking(path, sizeof(path));
	struct iovec iov = { data, sizeof(data) };
	struct block_req req = {
		.op = BLOCK_WRITE, .length = SMALL, .iov = &iov, .iov_count = 1, .done = on_done
	};
	struct record_reader reader;

	(void)state;
	assert_int_equal(disk_submit(disk, &req), DISK_PENDING);
	assert_int_equal(looking.entries, 1);
	looking.asked->done(looking.asked, -ENOSPC);
	assert_int_equal(entries_when_done, 2);
	disk_free(disk);
	open_record(&reader, path);
	expect_next(&reader,
		(struct record_entry){ .event = RECORD_SUBMITTED, .op = BLOCK_WRITE, .length = SMALL }, data);
	expect_next(&reader,
		(struct record_entry){ .event = RECORD_COMPLETED, .op = BLOCK_WRITE, .status = -ENOSPC },
		NULL);
	record_reader_close(&reader);
}

/* R3: it was submitted to another recording, or to none. */
static void nobody_elses_completion(void **state)
{
	char path[256], other[256], why[256];
	struct disk *disk = record_looking(path, sizeof(path));
	struct record_about about = { .path = other, .name = "", .mode = "none" };
	struct block_req req = { .op = BLOCK_FLUSH, .done = on_done }, late = req;
	struct record_counts counts;
	struct block_req *asked;
	bool is_cut;

	(void)state;
	assert_int_equal(disk_submit(disk, &req), DISK_PENDING);
	free(record_stop(disk, &counts));
	asked = looking.asked;
	assert_int_equal(disk_submit(disk, &late), DISK_PENDING);
	fresh_path(other, sizeof(other));
	assert_int_equal(record_start(disk, &about, why, sizeof(why)), 0);
	asked->done(asked, -ENOSPC);
	looking.asked->done(looking.asked, -ENOSPC);
	assert_int_equal(entries_of(path, &is_cut), 1);
	assert_int_equal(entries_of(other, &is_cut), 0);
	disk_free(disk);
}

/* All that the record has is a write of @data, @length bytes at the disk's beginning, and that it succeeded. */
static void expect_one_write(const char *path, const char *data, size_t length)
{
	struct record_reader reader;

	open_record(&reader, path);
	expect_next(&reader,
		(struct record_entry){ .event = RECORD_SUBMITTED, .op = BLOCK_WRITE, .length = length },
		data);
	expect_next(&reader, (struct record_entry){ .event = RECORD_COMPLETED, .op = BLOCK_WRITE }, NULL);
	record_reader_close(&reader);
}

/* More than one call of pwritev(2) takes, some of them empty. */
static void many_pieces(void **state)
{
	enum { PIECES = 300, PIECE = 10 };
	char path[256], data[PIECES * PIECE];
	struct iovec iov[PIECES];
	struct asked asked = {
		.req = { .op = BLOCK_WRITE, .length = sizeof(data), .iov = iov, .iov_count = PIECES }
	};

	(void)state;
	fresh_path(path, sizeof(path));
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7 / 3);
	for (unsigned i = 0; i < PIECES; i++)
		iov[i] = (struct iovec){ data + i / 2 * 2 * PIECE, i % 2 ? 2 * PIECE : 0 };
	start_recording(path);
	assert_int_equal(ask(record, &ring, &asked), 0);
	stop_recording(path);
	expect_one_write(path, data, sizeof(data));
}

/* In place of libc's: one that is interrupted, and takes a few bytes at a time. */
static unsigned short_writes; /* 0: as ever; or bytes of each */

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
	static unsigned calls;

	if (short_writes == 0)
		return syscall(SYS_pwritev, fd, iov, count, at, 0);
	if (++calls % 3 == 0) {
		errno = EINTR;
		return -1;
	}
	return pwrite(fd, iov->iov_base, iov->iov_len < short_writes ? iov->iov_len : short_writes, at);
}

static void written_bit_by_bit(void **state)
{
	char path[256], data[100];

	(void)state;
	fresh_path(path, sizeof(path));
	memset(data, 'y', sizeof(data));
	short_writes = 7;
	start_recording(path);
	assert_int_equal(ask_data(record, &ring, BLOCK_WRITE, 0, 0, data, sizeof(data)), 0);
	stop_recording(path);
	short_writes = 0;
	expect_one_write(path, data, sizeof(data));
}

/* When: since it began. How large the disk is then. */
static void times_and_sizes(void **state)
{
	char path[256], why[256];
	struct disk *disk = record_looking(path, sizeof(path));
	struct block_req req = { .op = BLOCK_FLUSH, .done = on_done };
	struct record_entry entries[5];
	struct record_reader reader;

	(void)state;
	assert_int_equal(disk_submit(disk, &req), DISK_PENDING);
	usleep(2000);
	looking.asked->done(looking.asked, -ENOSPC);
	looking.disk.facts.size = 2 * SIZE;
	disk_measure(disk);
	assert_int_equal(disk->facts.size, 2 * SIZE);
	assert_int_equal(disk_submit(disk, &req), DISK_PENDING);
	looking.asked->done(looking.asked, -ENOSPC);
	disk_free(disk);
	open_record(&reader, path);
	assert_in_range(
		reader.header.started_ns / 1000000000u, (uint64_t)time(NULL) - 60, (uint64_t)time(NULL));
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(record_reader_next(&reader, &entries[i], why, sizeof(why)), 1);
	assert_in_range(entries[0].time_ns, 0, UINT64_C(60000000000));
	assert_in_range(entries[1].time_ns - entries[0].time_ns, 2000000, UINT64_C(60000000000));
	assert_int_equal(entries[2].event, RECORD_SIZE);
	assert_int_equal(entries[2].offset, 2 * SIZE);
	assert_int_equal(reader.disk_size, 2 * SIZE);
	assert_int_equal(entries[3].request, 3);
	record_reader_close(&reader);
}

/* What a status finds goes up. */
static void extents_pass(void **state)
{
	struct block_extent extents[4];
	struct asked asked = { .req = { .op = BLOCK_STATUS, .length = SIZE, .extents = { extents, 4, 0 } } };
	struct record_reader reader;
	char path[256];

	(void)state;
	fresh_path(path, sizeof(path));
	start_recording(path);
	assert_int_equal(ask(record, &ring, &asked), 0);
	stop_recording(path);
	assert_int_equal(asked.req.extents.count, 1);
	assert_int_equal(extents[0].length, SIZE);
	open_record(&reader, path);
	expect_next(&reader,
		(struct record_entry){ .event = RECORD_SUBMITTED, .op = BLOCK_STATUS, .length = SIZE }, NULL);
	record_reader_close(&reader);
}

static struct rlimit limit_files(rlim_t bytes)
{
	struct rlimit before, little;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	little = before;
	little.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
	return before;
}

static unsigned open_files(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

/* Not even its header can be written: nothing is left behind, and the next may begin. */
static void no_room_at_all(void **state)
{
	struct record_about about = { .name = "an export", .mode = "none" };
	struct record_counts counts;
	struct rlimit before;
	char path[256], why[256];
	unsigned files;

	(void)state;
	fresh_path(path, sizeof(path));
	about.path = path;
	files = open_files();
	before = limit_files(RECORD_HEADER_BYTES + 3);
	assert_int_equal(record_start(record, &about, why, sizeof(why)), -EFBIG);
	setrlimit(RLIMIT_FSIZE, &before);
	assert_non_null(strstr(why, "write: File too large"));
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(open_files(), files);
	assert_null(record_stop(record, &counts));
	start_recording(path);
	stop_recording(path);
}

/* The file may be so large and no larger; requests go on. */
static void a_full_file(void **state)
{
	struct rlimit before;
	struct record_counts counts;
	char path[256], data[SMALL] = { 0 };
	bool is_cut;

	(void)state;
	fresh_path(path, sizeof(path));
	before = limit_files(10000);
	start_recording(path);
	for (int i = 0; i < 10; i++)
		assert_int_equal(ask_data(record, &ring, BLOCK_WRITE, 0, 0, data, sizeof(data)), 0);
	setrlimit(RLIMIT_FSIZE, &before);
	counts = stop_recording(path);
	assert_int_equal(counts.error, -EFBIG);
	assert_int_equal(counts.requests, 3);
	assert_int_equal(entries_of(path, &is_cut), 6);
	assert_false(is_cut);
}

/* A process that is killed while it records. */
static void a_killed_writer(void **state)
{
	char path[256], data[SMALL] = { 0 };
	int told[2], status;
	unsigned done = 0;
	bool is_cut;
	pid_t pid;

	(void)state;
	fresh_path(path, sizeof(path));
	assert_int_equal(pipe(told), 0);
	pid = fork();
	if (pid == 0) {
		start_recording(path);
		for (;;) {
			if (disk_submit(record, &(struct block_req){ .op = BLOCK_WRITE,
							.length = sizeof(data),
							.iov_count = 1,
							.iov = &(struct iovec){ data, sizeof(data) } }) !=
					0 ||
				write(told[1], "", 1) != 1)
				_exit(1);
		}
	}
	close(told[1]);
	for (char byte; done < 200 && read(told[0], &byte, 1) == 1;)
		done++;
	kill(pid, SIGKILL);
	for (char bytes[64]; (status = (int)read(told[0], bytes, sizeof(bytes))) > 0;)
		done += (unsigned)status;
	close(told[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_in_range(entries_of(path, &is_cut), 2 * done, 2 * done + 2);
}

static void copy_with(const char *path, const uint8_t *bytes, size_t length)
{
	int fd = open(path, O_WRONLY);

	assert_int_equal(write(fd, bytes, length), (ssize_t)length);
	assert_int_equal(ftruncate(fd, (off_t)length),
		0); /* some filesystems sync what is first truncated to nothing */
	close(fd);
}

/* A short record, as bytes. */
static size_t short_record(uint8_t *bytes, size_t room)
{
	struct record_file file;
	ssize_t length;

	begin_record(&file, SIZE);
	put_completion(&file, put_submission(&file, BLOCK_WRITE, 0, 0, 20, "twenty bytes of data"), 0);
	put_submission(&file, BLOCK_FLUSH, 0, 0, 0, NULL);
	length = pread(file.fd, bytes, room, 0);
	close(file.fd);
	return (size_t)length;
}

static void cut_anywhere(void **state)
{
	static const size_t ends[] = { 84, 84 + 84, 84 + 84 + 64, 84 + 84 + 64 + 64 };
	uint8_t bytes[512];
	size_t length = short_record(bytes, sizeof(bytes));
	struct record_reader reader;
	char path[256], why[256];

	(void)state;
	assert_int_equal(length, ends[3]);
	temporary_file(path, sizeof(path), 0);
	for (size_t cut = 0; cut <= length; cut++) {
		unsigned whole = 0;
		bool is_cut;

		copy_with(path, bytes, cut);
		if (cut < ends[0]) {
			assert_int_equal(record_reader_open(&reader, path, why, sizeof(why)), -ENODATA);
			assert_non_null(strstr(why, "not a record"));
			continue;
		}
		while (whole < 3 && cut >= ends[whole + 1])
			whole++;
		assert_int_equal(entries_of(path, &is_cut), whole);
		assert_int_equal(is_cut, cut > ends[whole]);
	}
}

/* Whether the whole of @path is read without complaint. */
static bool is_accepted(const char *path)
{
	struct record_reader reader;
	struct record_entry entry;
	char why[256] = "";
	int more;

	if (record_reader_open(&reader, path, why, sizeof(why)) != 0) {
		assert_non_null(strstr(why, path));
		return false;
	}
	while ((more = record_reader_next(&reader, &entry, why, sizeof(why))) > 0)
		;
	if (more < 0)
		assert_non_null(strstr(why, "entry "));
	record_reader_close(&reader);
	return more == 0 && !reader.is_cut;
}

static void any_bit_wrong(void **state)
{
	uint8_t bytes[512];
	size_t length = short_record(bytes, sizeof(bytes));
	char path[256];

	(void)state;
	temporary_file(path, sizeof(path), 0);
	copy_with(path, bytes, length);
	assert_true(is_accepted(path));
	for (size_t bit = 0; bit < 8 * length; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		copy_with(path, bytes, length);
		if (is_accepted(path))
			fail_msg("bit %zu of byte %zu is wrong, and nobody sees it", bit % 8, bit / 8);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

/* Its sum is right; somebody else may have written it. */
static void no_status_that_is_none(void **state)
{
	static const int statuses[] = { 0, -EIO, -4095, 1, -4096, INT_MIN, INT_MAX };

	(void)state;
	for (unsigned i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		struct record_file file;

		begin_record(&file, SIZE);
		put_completion(&file, put_submission(&file, BLOCK_FLUSH, 0, 0, 0, NULL), statuses[i]);
		close(file.fd);
		assert_int_equal(is_accepted(file.path), statuses[i] <= 0 && statuses[i] >= -4095);
	}
}

/* The check values of CRC-32C in RFC 3720, B.4. */
static void known_sums(void **state)
{
	uint8_t bytes[32] = { 0 };

	(void)state;
	assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x46dd794e);
	assert_int_equal(crc32c(crc32c(0, bytes, 5), bytes + 5, 27), 0x46dd794e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_sums),
		cmocka_unit_test_setup_teardown(every_request, start, stop),
		cmocka_unit_test_setup_teardown(starts_and_stops, start, stop),
		cmocka_unit_test(written_before_anybody_hears),
		cmocka_unit_test(nobody_elses_completion),
		cmocka_unit_test_setup_teardown(many_pieces, start, stop),
		cmocka_unit_test_setup_teardown(written_bit_by_bit, start, stop),
		cmocka_unit_test(times_and_sizes),
		cmocka_unit_test_setup_teardown(extents_pass, start, stop),
		cmocka_unit_test_setup_teardown(no_room_at_all, start, stop),
		cmocka_unit_test_setup_teardown(a_full_file, start, stop),
		cmocka_unit_test_setup_teardown(a_killed_writer, start, stop),
		cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(any_bit_wrong),
		cmocka_unit_test(no_status_that_is_none),
	};

	log_open("test", LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
