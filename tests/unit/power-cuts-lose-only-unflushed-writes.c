/* Whatever a guest has done when the power of its disk is cut, and whatever the disk's cache had brought to the platter by
 * then: what was flushed or written with FUA is there, every other sector has a version that the guest wrote, and the same seed
 * gives the same disk.  If this fails, people are shown losses that no real disk would cause, or miss those that it would. */
#include "tests/unit/disks.h"

#include <poll.h>

#include "cache/crc32c.h"
#include "cache/disk_memory.h"
#include "cache/volatile.h"

enum { SECTOR = 512, SECTORS = 400, SIZE = SECTORS * SECTOR, BLOCK = 4096, ROUNDS = 60, STEPS_MAX = 40 };

static struct uring ring;
static struct mailbox box;
static uint32_t luck;

static unsigned draw(unsigned below)
{
	luck = luck * 1103515245u + 12345u;
	return (luck >> 8) % below;
}

static struct disk *open_volatile(struct disk *below, uint64_t bytes)
{
	struct disk *disk = NULL;

	assert_int_equal(volatile_open(below, bytes, &disk), 0);
	return disk;
}

static struct disk *open_memory(uint64_t size)
{
	struct disk *disk = NULL;

	assert_int_equal(disk_memory_open(size, &disk), 0);
	return disk;
}

static bool is_cut;

static void on_cut(struct mail *mail)
{
	(void)mail;
	is_cut = true;
}

static struct survival_counts cut(struct disk *disk, struct survival_order order)
{
	struct volatile_cut cut = { .order = order, .owner = &box, .done.read = on_cut };

	is_cut = false;
	volatile_cut(disk, &cut);
	while (!is_cut) {
		poll(&(struct pollfd){ .fd = box.fd, .events = POLLIN }, 1, -1);
		mailbox_drain(&box);
	}
	assert_int_equal(cut.error, 0);
	assert_int_equal(volatile_count(disk).held, 0);
	assert_int_equal(volatile_count(disk).bytes, 0);
	return cut.counts;
}

/* What a sector may be read as, and be found as after a power cut: values of all its bytes. */
static bool seen[SECTORS][256], survives[SECTORS][256];

static void model_init(void)
{
	memset(seen, 0, sizeof(seen));
	for (int i = 0; i < SECTORS; i++)
		seen[i][0] = true;
	memcpy(survives, seen, sizeof(seen));
}

static void model_write(unsigned sector, uint8_t value, bool stable)
{
	memset(seen[sector], 0, 256);
	seen[sector][value] = true;
	if (stable)
		memset(survives[sector], 0, 256);
	survives[sector][value] = true;
}

/* Undefined: in memory, what was there or zeroes. */
static void model_trim(unsigned sector)
{
	seen[sector][0] = true;
	survives[sector][0] = true;
}

static void step(struct disk *disk, unsigned number, unsigned grid)
{
	static uint8_t data[SIZE];
	unsigned kind = draw(16), count = grid * (1 + draw(24 / grid)),
		 sector = draw((SECTORS - count) / grid + 1) * grid;
	enum block_op op = kind < 9    ? BLOCK_WRITE
			   : kind < 12 ? BLOCK_ZERO
			   : kind < 14 ? BLOCK_TRIM
				       : BLOCK_FLUSH;
	unsigned flags = op != BLOCK_FLUSH && draw(5) == 0 ? BLOCK_FUA : 0;
	uint8_t value = op == BLOCK_WRITE ? (uint8_t)(1 + number % 255) : 0;

	memset(data, value, sizeof(data));
	if (op == BLOCK_FLUSH) {
		assert_int_equal(ask_range(disk, &ring, op, 0, 0, 0), 0);
		memcpy(survives, seen, sizeof(seen));
		return;
	}
	if (op == BLOCK_WRITE)
		assert_int_equal(ask_data(disk, &ring, op, flags, (uint64_t)sector * SECTOR, data,
					 (size_t)count * SECTOR),
			0);
	else
		assert_int_equal(ask_range(disk, &ring, op, flags, (uint64_t)sector * SECTOR,
					 (uint64_t)count * SECTOR),
			0);
	for (unsigned i = sector; i < sector + count; i++) {
		if (op == BLOCK_TRIM)
			model_trim(i);
		else
			model_write(i, value, flags & BLOCK_FUA);
	}
}

static void read_all(struct disk *disk, uint8_t found[SIZE])
{
	memset(found, 0xee, SIZE);
	assert_int_equal(ask_data(disk, &ring, BLOCK_READ, 0, 0, found, SIZE), 0);
}

static void check(const uint8_t found[SIZE], bool allowed[SECTORS][256], const char *when)
{
	for (unsigned i = 0; i < SECTORS; i++) {
		const uint8_t *bytes = found + (size_t)i * SECTOR;

		if (!allowed[i][bytes[0]] || memcmp(bytes, bytes + 1, SECTOR - 1) != 0)
			fail_msg("%s: sector %u is %u .. %u", when, i, bytes[0], bytes[SECTOR - 1]);
	}
}

static void model_take(const uint8_t found[SIZE])
{
	for (unsigned i = 0; i < SECTORS; i++)
		model_write(i, found[(size_t)i * SECTOR], true);
}

static void read_a_part(struct disk *disk)
{
	static uint8_t all[SIZE];
	unsigned sector = draw(SECTORS), count = 1 + draw(SECTORS - sector);

	assert_int_equal(
		ask_data(disk, &ring, BLOCK_READ, 0, (uint64_t)sector * SECTOR, all, (size_t)count * SECTOR),
		0);
	for (unsigned i = 0; i < count; i++)
		if (!seen[sector + i][all[(size_t)i * SECTOR]])
			fail_msg("sector %u reads as %u", sector + i, all[(size_t)i * SECTOR]);
}

/* Every way to cut, again and again on one disk; with little room, so that the oldest leave by themselves, or enough. */
static void whatever_was_done(struct disk *below, uint64_t room, uint32_t seed)
{
	static const uint32_t sectors[] = { 0, SECTOR, BLOCK };
	static uint8_t found[SIZE];
	struct disk *disk = open_volatile(below, room);
	unsigned number = 0;

	luck = seed;
	model_init();
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct survival_order order = {
			.keep = (enum survival_keep)draw(3), .sector = sectors[draw(3)], .seed = draw(1000)
		};

		for (unsigned i = draw(STEPS_MAX); i > 0; i--) {
			step(disk, number++, draw(3) ? 1 : 8);
			assert_in_range(volatile_count(disk).bytes, 0, room);
			if (draw(4) == 0)
				read_a_part(disk);
		}
		read_all(disk, found);
		check(found, seen, "before the cut");
		cut(disk, order);
		read_all(disk, found);
		check(found, order.keep == SURVIVAL_ALL && order.sector == 0 ? seen : survives,
			"after the cut");
		model_take(found);
	}
	disk_free(disk);
}

static void over_memory(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 12; seed++)
		whatever_was_done(open_memory(SIZE), seed % 2 ? 64 << 10 : 8 << 20, seed);
}

static void over_a_file(void **state)
{
	static const char *const modes[] = { "writeback", "none" };
	char path[256];

	(void)state;
	for (uint32_t seed = 1; seed <= 2; seed++) {
		temporary_file(path, sizeof(path), SIZE);
		whatever_was_done(
			open_cache(path, modes[seed % 2]), seed % 2 ? 64 << 10 : 8 << 20, seed * 77);
	}
}

/* Unflushed writes of one block each, over and over the same few. */
static void fill(struct disk *disk, unsigned writes)
{
	static uint8_t data[4 * BLOCK];

	for (unsigned i = 0; i < writes; i++) {
		memset(data, (int)(i % 255 + 1), sizeof(data));
		assert_int_equal(
			ask_data(disk, &ring, BLOCK_WRITE, 0, i % 10 * sizeof(data), data, sizeof(data)), 0);
	}
}

static void image_after(struct survival_order order, uint8_t found[SIZE], struct survival_counts *counts)
{
	struct disk *disk = open_volatile(open_memory(SIZE), VOLATILE_BYTES_DEFAULT);

	fill(disk, 100);
	*counts = cut(disk, order);
	read_all(disk, found);
	disk_free(disk);
}

static void seeds_repeat_themselves(void **state)
{
	static uint8_t one[SIZE], again[SIZE], other[SIZE];
	struct survival_counts counts, counts_again, counts_other;

	(void)state;
	image_after((struct survival_order){ SURVIVAL_RANDOM, SECTOR, 5 }, one, &counts);
	image_after((struct survival_order){ SURVIVAL_RANDOM, SECTOR, 5 }, again, &counts_again);
	image_after((struct survival_order){ SURVIVAL_RANDOM, SECTOR, 6 }, other, &counts_other);
	assert_memory_equal(one, again, SIZE);
	assert_memory_not_equal(one, other, SIZE);
	assert_int_equal(counts.kept + counts.lost + counts.torn, 100);
	assert_in_range(counts.kept, 10, 60);
	assert_in_range(counts.lost, 10, 60);
	assert_in_range(counts.torn, 10, 60);
	assert_memory_equal(&counts, &counts_again, sizeof(counts));
	/* And on every machine, in every version. */
	assert_int_equal(counts.kept, 29);
	assert_int_equal(counts.lost, 35);
	assert_int_equal(crc32c(0, one, SIZE), 0xd8a2c951);
}

static void none_and_all_are_what_they_say(void **state)
{
	static uint8_t found[SIZE];
	static const uint8_t zeroes[SIZE];
	struct survival_counts counts;

	(void)state;
	image_after((struct survival_order){ SURVIVAL_NONE, SECTOR, 5 }, found, &counts);
	assert_int_equal(counts.lost, 100);
	assert_memory_equal(found, zeroes, SIZE);
	image_after((struct survival_order){ SURVIVAL_ALL, 0, 5 }, found, &counts);
	assert_int_equal(counts.kept, 100);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(found[i * 4 * BLOCK], 90 + i + 1);
	image_after((struct survival_order){ SURVIVAL_ALL, BLOCK, 5 }, found, &counts);
	assert_int_equal(counts.kept + counts.torn, 100);
	assert_in_range(counts.torn, 20, 80);
}

/* Within a sector of that size, all is of one version. */
static void sectors_are_not_torn(void **state)
{
	static uint8_t found[SIZE];
	struct survival_counts counts;
	unsigned torn_writes = 0;

	(void)state;
	for (unsigned seed = 1; seed < 20; seed++) {
		image_after((struct survival_order){ SURVIVAL_RANDOM, BLOCK, seed }, found, &counts);
		for (unsigned block = 0; block < 40; block++) {
			const uint8_t *bytes = found + (size_t)block * BLOCK;

			assert_memory_equal(bytes, bytes + 1, BLOCK - 1);
			torn_writes += block % 4 && bytes[0] != found[(size_t)(block - 1) * BLOCK];
		}
	}
	assert_true(torn_writes > 50);
	image_after((struct survival_order){ SURVIVAL_RANDOM, 0, 1 }, found, &counts);
	for (unsigned write = 0; write < 10; write++)
		assert_memory_equal(found + write * 4 * BLOCK, found + write * 4 * BLOCK + 1, 4 * BLOCK - 1);
}

static void the_oldest_leave_when_it_is_full(void **state)
{
	struct disk *disk = open_volatile(open_memory(SIZE), 256 << 10);
	static uint8_t found[SIZE];

	(void)state;
	fill(disk, 7); /* 112 KiB */
	assert_int_equal(volatile_count(disk).held, 7);
	assert_int_equal(volatile_count(disk).destaged, 0);
	fill(disk, 105);
	assert_in_range(volatile_count(disk).bytes, 128 << 10, 256 << 10);
	assert_true(volatile_count(disk).destaged >= 112 - 16);
	cut(disk, (struct survival_order){ SURVIVAL_NONE, 0, 0 });
	read_all(disk, found);
	for (unsigned i = 0; i < 10; i++) /* one of the versions that left */
		assert_int_equal(found[i * 4 * BLOCK] % 10, (i + 1) % 10);
	disk_free(disk);
}

static void what_is_larger_goes_past(void **state)
{
	enum { LARGE = 100 << 10 };
	struct disk *disk = open_volatile(open_memory(SIZE), 64 << 10);
	static uint8_t data[LARGE], found[SIZE];

	(void)state;
	fill(disk, 2);
	memset(data, 99, LARGE);
	assert_int_equal(ask_data(disk, &ring, BLOCK_WRITE, 0, 8192, data, LARGE), 0);
	assert_int_equal(volatile_count(disk).held, 2);
	assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, 0, 8192 + 4096, 99 << 10), 0);
	read_all(disk, found);
	assert_int_equal(found[0], 1);
	assert_int_equal(found[8192], 99);
	assert_int_equal(found[8192 + 4096], 0);
	cut(disk, (struct survival_order){ SURVIVAL_ALL, 0, 0 });
	read_all(disk, found);
	assert_int_equal(found[0], 1);
	assert_int_equal(found[8192], 99);
	assert_int_equal(found[8192 + 4096], 0);
	disk_free(disk);
}

/* A disk whose writes can be made to fail. */
struct failing {
	struct disk disk;
	struct disk *below;
	bool fails;
};

static int failing_submit(struct disk *disk, struct block_req *req)
{
	struct failing *failing = container_of(disk, struct failing, disk);

	return failing->fails && req->op == BLOCK_WRITE ? -ENOSPC : disk_submit(failing->below, req);
}

static void failing_free(struct disk *disk)
{
	disk_free(container_of(disk, struct failing, disk)->below);
}

static void failures_last(void **state)
{
	static const struct disk_ops ops = { .submit = failing_submit, .free = failing_free };
	struct failing failing = { .below = open_memory(SIZE), .fails = true };
	struct disk *disk;

	(void)state;
	failing.disk.ops = &ops;
	failing.disk.facts = failing.below->facts;
	disk = open_volatile(&failing.disk, 1 << 20);
	fill(disk, 3);
	assert_false(disk_has_lost(disk));
	assert_int_equal(ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0), -EIO);
	assert_true(disk_has_lost(disk));
	failing.fails = false;
	fill(disk, 3);
	assert_int_equal(ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0), -EIO);
	assert_int_equal(ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0), -EIO);
	disk_free(disk);
}

/* A disk whose writes end in a later turn. */
struct late {
	struct disk disk;
	struct disk *below;
	unsigned written, in_flight, flushed_at; /* the last: writes that had ended when the flush came */
};

static struct late *late_of;

static void on_late(struct mail *mail)
{
	struct block_req *req = container_of(mail, struct block_req, wait.mail);

	late_of->written++;
	late_of->in_flight--;
	req->done(req, 0);
}

static int late_submit(struct disk *disk, struct block_req *req)
{
	struct late *late = container_of(disk, struct late, disk);
	int status;

	if (req->op == BLOCK_FLUSH)
		late->flushed_at = late->in_flight ? 0 : late->written;
	status = disk_submit(late->below, req);
	if (req->op != BLOCK_WRITE)
		return status;
	late->in_flight++;
	req->wait.mail.read = on_late;
	uring_post(req->ring, &req->wait.mail);
	return DISK_PENDING;
}

static void late_free(struct disk *disk)
{
	disk_free(container_of(disk, struct late, disk)->below);
}

/* More of them than are brought to the disk at a time. */
static void flushes_wait_for_what_they_cover(void **state)
{
	static const struct disk_ops ops = { .submit = late_submit, .free = late_free };
	struct late late = { .below = open_memory(SIZE) };
	struct disk *disk;

	(void)state;
	late_of = &late;
	late.disk.ops = &ops;
	late.disk.facts = late.below->facts;
	disk = open_volatile(&late.disk, 8 << 20);
	fill(disk, 100);
	assert_int_equal(ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0), 0);
	assert_int_equal(late.flushed_at, 100);
	disk_free(disk);
}

static void closing_writes_back(void **state)
{
	char path[256];
	uint8_t byte = 0;
	struct disk *disk;
	int fd;

	(void)state;
	temporary_file(path, sizeof(path), SIZE);
	disk = open_volatile(open_cache(path, "writeback"), 1 << 20);
	fill(disk, 3);
	fd = open(path, O_RDONLY);
	assert_int_equal(pread(fd, &byte, 1, 0), 1);
	assert_int_equal(byte, 0);
	disk_free(disk);
	assert_int_equal(pread(fd, &byte, 1, 0), 1);
	assert_int_equal(byte, 1);
	close(fd);
}

static int set_up(void **state)
{
	(void)state;
	return uring_init(&ring) || mailbox_init(&box);
}

static int tear_down(void **state)
{
	(void)state;
	uring_fini(&ring);
	mailbox_fini(&box);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(over_memory),
		cmocka_unit_test(over_a_file),
		cmocka_unit_test(seeds_repeat_themselves),
		cmocka_unit_test(none_and_all_are_what_they_say),
		cmocka_unit_test(sectors_are_not_torn),
		cmocka_unit_test(the_oldest_leave_when_it_is_full),
		cmocka_unit_test(what_is_larger_goes_past),
		cmocka_unit_test(failures_last),
		cmocka_unit_test(flushes_wait_for_what_they_cover),
		cmocka_unit_test(closing_writes_back),
	};

	alarm(120); /* a lost completion hangs */
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
