/* FUA writes that are in flight together end in one fdatasync, and one alone makes only itself stable; but what others wrote
 * and nobody wants stable yet is left alone, unless such writes go on.  If this fails, a database's commits cost a sync
 * each, or wait for a copy that runs beside them. */
#include "tests/unit/disks.h"

#include "cache/disk_file.h"
#include "cache/file.h"
#include "cache/flush.h"

enum { TOGETHER = 8, BLOCK = 4096, SIZE = 1 << 20 };

static struct uring ring;
static unsigned in_flight, failures;
static char data[BLOCK];

static struct disk *open_file(void)
{
	const struct file_manner manner = { 0 };
	struct disk *disk = NULL;
	char path[256], why[256] = "";

	temporary_file(path, sizeof(path), SIZE);
	if (disk_file_open(path, &manner, &disk, why, sizeof(why)) != 0)
		fail_msg("%s", why);
	return disk;
}

static void on_done(struct block_req *req, int status)
{
	failures += status != 0;
	if (--in_flight == 0)
		uring_stop(req->ring);
}

/* @count writes in one turn, waited for. Returns how many of them shared syncs. */
static unsigned write_together(struct disk *disk, unsigned count, unsigned flags)
{
	static struct asked asked[TOGETHER];
	uint64_t before = flush_count(&file_of(disk)->flush).asked;

	in_flight = count;
	for (unsigned i = 0; i < count; i++) {
		asked[i].iov = (struct iovec){ data, BLOCK };
		asked[i].req = (struct block_req){ .op = BLOCK_WRITE,
			.flags = flags,
			.ring = &ring,
			.offset = (uint64_t)i * BLOCK,
			.length = BLOCK,
			.iov = &asked[i].iov,
			.iov_count = 1,
			.done = on_done };
		disk_finish(&asked[i].req, disk_submit(disk, &asked[i].req));
	}
	ring.stopping = in_flight == 0;
	uring_run(&ring);
	assert_int_equal(in_flight, 0);
	assert_int_equal(failures, 0);
	return (unsigned)(flush_count(&file_of(disk)->flush).asked - before);
}

static uint64_t syncs(struct disk *disk)
{
	return flush_count(&file_of(disk)->flush).done;
}

static void together(void **state)
{
	struct disk *disk = open_file();

	(void)state;
	write_together(
		disk, TOGETHER, BLOCK_FUA); /* the first of these could not know that others would follow */
	for (int i = 0; i < 10; i++) {
		uint64_t before = syncs(disk);

		assert_int_equal(write_together(disk, TOGETHER, BLOCK_FUA), TOGETHER);
		assert_int_equal(syncs(disk) - before, 1);
	}
	disk_free(disk);
}

static void alone(void **state)
{
	struct disk *disk = open_file();

	(void)state;
	write_together(disk, 1, BLOCK_FUA); /* the turn before this one may have had many */
	for (int i = 0; i < 10; i++)
		assert_int_equal(write_together(disk, 1, BLOCK_FUA), 0);
	disk_free(disk);
}

static void beside_others(void **state)
{
	struct disk *disk = open_file();

	(void)state;
	write_together(disk, TOGETHER, BLOCK_FUA);
	write_together(disk, 1, 0);
	for (int i = 0; i < FLUSH_LIGHT_RUN; i += TOGETHER)
		assert_int_equal(write_together(disk, TOGETHER, BLOCK_FUA), 0);
	assert_int_equal(write_together(disk, TOGETHER, BLOCK_FUA), TOGETHER);

	write_together(disk, 1, 0);
	assert_int_equal(ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0), 0);
	assert_int_equal(write_together(disk, TOGETHER, BLOCK_FUA), TOGETHER);
	disk_free(disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(together),
		cmocka_unit_test(alone),
		cmocka_unit_test(beside_others),
	};

	alarm(60); /* a lost completion hangs */
	if (uring_init(&ring) != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
