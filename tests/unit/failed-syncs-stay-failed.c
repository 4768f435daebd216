/* After a failed fdatasync every flush fails until the file is opened again, and a FUA write that fails does not hide
 * the loss from the flush.  If this fails, a database believes that its log is on the disk: it was dropped. */
#include "tests/unit/loop_disk.h"

#include "cache/flush.h"

static void on_flushed(struct block_req *req, int status)
{
	req->wait.status = status;
	uring_stop(req->ring);
}

static int flush_and_wait(struct flush *flush)
{
	struct block_req req = { .op = BLOCK_FLUSH, .ring = &ring, .done = on_flushed };
	int status = flush_submit(flush, &req);

	if (status != DISK_PENDING)
		return status;
	ring.stopping = false;
	uring_run(&ring);
	return req.wait.status;
}

/* A pipe cannot be synced; then its descriptor becomes that of a healthy file. */
static void even_when_the_next_would_succeed(void **state)
{
	struct flush flush;
	int pipe_fds[2];
	char path[256];
	int good;

	(void)state;
	temporary_file(path, sizeof(path), 4096);
	good = open(path, O_RDWR | O_CLOEXEC);
	unlink(path);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	flush_init(&flush, pipe_fds[1], "a pipe");
	assert_int_equal(flush_and_wait(&flush), -EIO);
	assert_true(dup3(good, pipe_fds[1], O_CLOEXEC) >= 0);
	assert_int_equal(flush_and_wait(&flush), -EIO);
	assert_int_equal(flush_count(&flush).done, 1);
	flush_fini(&flush);
	flush_init(&flush, pipe_fds[1], "a file");
	assert_int_equal(flush_and_wait(&flush), 0);
	flush_fini(&flush);
	close(good);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

/* A device over a sparse file in a filesystem too small for it: a disk that loses what does not fit. */
static void behind_a_failed_fua_write(void **state)
{
	static char data[1 << 20];
	const char *small;
	struct disk *disk;
	int fua, first, second, reopened;

	(void)state;
	small = loop_disk_make("tmpfs", "size=256k", "16M", "");
	memset(data, 1, sizeof(data));
	disk = open_cache(small, "writeback");
	/* Acknowledged from the page cache; most of it will never fit the disk. */
	first = ask_data(disk, &ring, BLOCK_WRITE, 0, 0, data, sizeof(data));
	fua = ask_data(disk, &ring, BLOCK_WRITE, BLOCK_FUA, 4096, data, sizeof(data) - 8192);
	assert_int_equal(first, 0);
	assert_false(disk_has_lost(disk));
	first = ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0);
	assert_true(disk_has_lost(disk));
	second = ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0);
	disk_free(disk);
	disk = open_cache(small, "writeback");
	reopened = ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0);
	disk_free(disk);
	loop_disk_remove();
	assert_true(fua < 0);
	assert_int_equal(first, -EIO);
	assert_int_equal(second, -EIO);
	assert_int_equal(reopened, 0);
}

enum { TOGETHER = 16, PIECE = 64 << 10, FIRST = 1 << 20 };
static unsigned in_flight;

static void on_one_of_many(struct block_req *req, int status)
{
	container_of(req, struct asked, req)->status = status;
	if (--in_flight == 0)
		uring_stop(req->ring);
}

/* FUA writes of @data, all in flight at a time. */
static void write_together(struct disk *disk, char *data, struct asked asked[TOGETHER])
{
	in_flight = TOGETHER;
	ring.stopping = false;
	for (int i = 0; i < TOGETHER; i++) {
		asked[i].iov = (struct iovec){ data, PIECE };
		asked[i].req = (struct block_req){ .op = BLOCK_WRITE,
			.flags = BLOCK_FUA,
			.offset = FIRST + (uint64_t)i * PIECE,
			.length = PIECE,
			.iov = &asked[i].iov,
			.iov_count = 1,
			.ring = &ring,
			.done = on_one_of_many };
		disk_finish(&asked[i].req, disk_submit(disk, &asked[i].req));
	}
	uring_run(&ring);
}

/* Past the page cache. */
static bool has_on_disk(const char *path, uint64_t offset, const char *data)
{
	static char found[PIECE] __attribute__((aligned(4096)));
	int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);

	assert_int_equal(pread(fd, found, PIECE, (off_t)offset), PIECE);
	close(fd);
	return memcmp(found, data, PIECE) == 0;
}

/* If this fails, one of several commits that the disk has lost is taken for done: the kernel told another of it. */
static void for_each_of_many_fua_writes(void **state)
{
	static char data[PIECE];
	struct asked asked[TOGETHER];
	unsigned failed = 0, invented = 0;
	const char *small;
	struct disk *disk;

	(void)state;
	small = loop_disk_make("tmpfs", "size=512k", "16M", "");
	memset(data, 7, sizeof(data));
	disk = open_cache(small, "writeback");
	/* Not to be synced for the others' sake. */
	assert_int_equal(ask_data(disk, &ring, BLOCK_WRITE, 0, 0, data, 4096), 0);
	write_together(disk, data, asked);
	for (int i = 0; i < TOGETHER; i++) {
		failed += asked[i].status != 0;
		invented += asked[i].status == 0 && !has_on_disk(small, FIRST + (uint64_t)i * PIECE, data);
	}
	disk_free(disk);
	loop_disk_remove();
	assert_int_equal(invented, 0);
	assert_in_range(failed, TOGETHER / 2, TOGETHER);
}

/* Who is alone with his failure has heard of it; a bad sector is no reason to fail the others for good. */
static void but_one_failed_write_is_one(void **state)
{
	static char data[1 << 20];
	struct disk *disk;
	int before, failed, after, flushed;

	(void)state;
	disk = open_cache(loop_disk_make("tmpfs", "size=512k", "16M", ""), "writethrough");
	before = ask_data(disk, &ring, BLOCK_WRITE, 0, 0, data, PIECE);
	memset(data, 1, sizeof(data));
	failed = ask_data(disk, &ring, BLOCK_WRITE, 0, FIRST, data, sizeof(data));
	after = ask_data(disk, &ring, BLOCK_WRITE, 0, 0, data, PIECE);
	flushed = ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0);
	disk_free(disk);
	loop_disk_remove();
	assert_int_equal(before, 0);
	assert_int_equal(failed, -EIO);
	assert_int_equal(after, 0);
	assert_int_equal(flushed, 0);
}

/* There is nothing left to be flushed; still, not all went well. */
static void where_every_write_is_stable(void **state)
{
	static char data[PIECE];
	struct asked asked[TOGETHER];
	struct disk *disk;
	bool lost;
	int before, after;

	(void)state;
	disk = open_cache(loop_disk_make("tmpfs", "size=512k", "16M", ""), "writethrough");
	before = ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0);
	write_together(disk, data, asked);
	lost = disk_has_lost(disk);
	after = ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0);
	disk_free(disk);
	loop_disk_remove();
	assert_int_equal(before, 0);
	assert_true(lost);
	assert_int_equal(after, -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(even_when_the_next_would_succeed),
		cmocka_unit_test(behind_a_failed_fua_write),
		cmocka_unit_test(for_each_of_many_fua_writes),
		cmocka_unit_test(where_every_write_is_stable),
		cmocka_unit_test(but_one_failed_write_is_one),
	};

	alarm(60); /* a lost completion hangs */
	return cmocka_run_group_tests(tests, ring_begin, ring_end);
}
