/* Wherever the power is cut, and whatever the disk has kept of what it had not been told to sync, an overlay has all that
 * was flushed or written with FUA, and every other sector is as in the base or as somebody wrote it; and wherever the
 * server alone is killed, it has all that was acknowledged.  If this fails, a power cut puts zeroes or rubbish into a
 * guest's disk where the base had its system.
 *
 * The overlay's file is here in memory, with a list of what was done to it in which order; each of its prefixes is a cut. */
#include "tests/unit/disks.h"

#include "cache/disk_file.h"
#include "cache/disk_overlay.h"
#include "cache/iov.h"
#include "cache/overlay_file.h"
#include "cache/overlay_format.h"

enum { SECTOR = 512, SECTORS = 8 * 40 + 3, SIZE = SECTORS * SECTOR, STEPS = 60, ENTRIES = 2000, SEEDS = 4 };
enum { BASE = 250 }; /* of STEPS and more */

static unsigned seed;

static unsigned draw(unsigned below)
{
	seed = seed * 1103515245u + 12345u;
	return (seed >> 8) % below;
}

/* What was done to the file: bytes, or a sync of what was done before @covers. */
struct entry {
	uint8_t *bytes; /* owned; NULL: a sync */
	uint64_t offset, length;
	unsigned covers;
	bool stable;
};

static struct entry entries[ENTRIES];
static unsigned entry_count;

/* What a guest does, and when: before which entry it began and had ended. */
struct step {
	enum block_op op;
	unsigned flags, sector, count;
	unsigned began, ended;
};

static struct step steps[STEPS];
static unsigned step_count;

static struct uring ring;
static struct disk *overlay;

/* The file. */
struct recorder {
	struct disk disk;
	struct disk *file;     /* owned */
	uint8_t *now, *before; /* owned: file_size bytes */
	uint64_t size;
	struct block_req *syncing;
	struct mail mail;
	unsigned covers;
};

static void record(const uint8_t *bytes, uint64_t offset, uint64_t length, bool stable)
{
	struct entry *entry = &entries[entry_count++];

	assert_in_range(entry_count, 1, ENTRIES - 1);
	*entry = (struct entry){ .offset = offset, .length = length, .stable = stable };
	entry->bytes = malloc(length);
	memcpy(entry->bytes, bytes, length);
}

static void take_step(bool during_a_sync);

static void on_synced(struct mail *mail)
{
	struct recorder *recorder = container_of(mail, struct recorder, mail);
	struct block_req *req = recorder->syncing;

	recorder->syncing = NULL;
	entries[entry_count++] = (struct entry){ .covers = recorder->covers };
	req->done(req, 0);
}

/* Others write while it runs. */
static int begin_sync(struct recorder *recorder, struct block_req *req)
{
	assert_null(recorder->syncing);
	recorder->syncing = req;
	recorder->covers = entry_count;
	recorder->mail.read = on_synced;
	for (unsigned i = draw(3); i > 0; i--)
		take_step(true);
	uring_post(req->ring, &recorder->mail);
	return DISK_PENDING;
}

static int recorder_submit(struct disk *disk, struct block_req *req)
{
	struct recorder *recorder = container_of(disk, struct recorder, disk);
	uint8_t *at = recorder->now + req->offset;

	if (req->op == BLOCK_FLUSH)
		return begin_sync(recorder, req);
	assert_true(req->offset + req->length <= recorder->size);
	if (req->op == BLOCK_READ) {
		iov_copy_in(req, at, req->length);
		return 0;
	}
	if (req->op == BLOCK_WRITE)
		iov_copy_out(req, at, req->length);
	else
		memset(at, 0, req->length);
	record(at, req->offset, req->length, req->flags & BLOCK_FUA);
	return 0;
}

static void recorder_free(struct disk *disk)
{
	struct recorder *recorder = container_of(disk, struct recorder, disk);

	disk_free(recorder->file);
	free(recorder->now);
	free(recorder->before);
	free(recorder);
}

static struct recorder *new_recorder(const char *path)
{
	static const struct disk_ops ops = { .submit = recorder_submit, .free = recorder_free };
	const struct file_manner manner = { .alone = true };
	struct recorder *recorder = calloc(1, sizeof(*recorder));
	char why[512];

	assert_int_equal(disk_file_open(path, &manner, &recorder->file, why, sizeof(why)), 0);
	recorder->size = recorder->file->facts.size;
	recorder->disk.ops = &ops;
	recorder->disk.facts = recorder->file->facts;
	recorder->now = malloc(recorder->size);
	recorder->before = malloc(recorder->size);
	assert_int_equal(pread(disk_file_fd(recorder->file), recorder->before, recorder->size, 0),
		(ssize_t)recorder->size);
	memcpy(recorder->now, recorder->before, recorder->size);
	return recorder;
}

/* The guest. */

struct running {
	struct asked asked;
	struct step *step;
	uint8_t data[24 * SECTOR];
};

static unsigned in_flight;

static void on_step_done(struct block_req *req, int status)
{
	struct running *running = container_of(req, struct running, asked.req);

	assert_int_equal(status, 0);
	running->step->ended = entry_count;
	free(running);
	if (--in_flight == 0)
		uring_stop(&ring);
}

static void choose(struct step *step, bool during_a_sync)
{
	unsigned kind = draw(10);

	step->op = kind < 6 ? BLOCK_WRITE : kind < 7 ? BLOCK_ZERO : BLOCK_FLUSH;
	if (during_a_sync && step->op == BLOCK_FLUSH)
		step->op = BLOCK_WRITE;
	step->flags = !during_a_sync && step->op != BLOCK_FLUSH && draw(3) == 0 ? BLOCK_FUA : 0;
	step->sector = draw(SECTORS);
	step->count = 1 + draw(SECTORS - step->sector < 24 ? SECTORS - step->sector : 24);
	step->began = entry_count;
	step->ended = UINT32_MAX;
}

static void take_step(bool during_a_sync)
{
	struct running *running;
	int status;

	if (step_count == STEPS)
		return;
	running = calloc(1, sizeof(*running));
	running->step = &steps[step_count++];
	choose(running->step, during_a_sync);
	memset(running->data, (int)step_count, sizeof(running->data)); /* its number, from 1 on */
	running->asked.iov = (struct iovec){ running->data, (size_t)running->step->count * SECTOR };
	running->asked.req = (struct block_req){
		.op = running->step->op,
		.flags = running->step->flags,
		.offset = (uint64_t)running->step->sector * SECTOR,
		.length = (uint64_t)running->step->count * SECTOR,
		.iov = &running->asked.iov,
		.iov_count = running->step->op == BLOCK_WRITE,
		.done = on_step_done,
		.ring = &ring,
	};
	in_flight++;
	status = disk_submit(overlay, &running->asked.req);
	if (status != DISK_PENDING)
		on_step_done(&running->asked.req, status);
}

static void run_guest(void)
{
	while (step_count < STEPS) {
		ring.stopping = false;
		take_step(false);
		if (in_flight > 0)
			uring_run(&ring);
	}
}

/* The cut. */

enum end { POWER_CUT, KILLED, ENDS };

/* What the file may be when the power goes, or the server is killed, before entry @cut. */
static void build_image(const struct recorder *recorder, enum end end, unsigned cut, uint8_t *image)
{
	unsigned covered = 0;

	memcpy(image, recorder->before, recorder->size);
	for (unsigned i = 0; i < cut; i++)
		if (!entries[i].bytes)
			covered = entries[i].covers;
	for (unsigned i = 0; i < cut; i++) {
		bool all = end == KILLED || i < covered || entries[i].stable;
		unsigned luck = draw(3); /* nothing of it, all of it, or any sectors */

		for (uint64_t at = 0; entries[i].bytes && at < entries[i].length; at += SECTOR)
			if (all || luck == 1 || (luck == 2 && draw(2)))
				memcpy(image + entries[i].offset + at, entries[i].bytes + at, SECTOR);
	}
	if (end == POWER_CUT)
		overlay_lifetime_write(
			&(struct overlay_lifetime){ .boot = "the boot before" }, image + OVERLAY_LIFETIME_AT);
	else
		assert_int_equal(pread(disk_file_fd(recorder->file), image + OVERLAY_LIFETIME_AT,
					 OVERLAY_BLOCK, OVERLAY_LIFETIME_AT),
			OVERLAY_BLOCK);
}

/* Whether what step @number did is to be found after that end before entry @cut, unless overwritten. */
static bool is_promised(unsigned number, enum end end, unsigned cut)
{
	if (end == KILLED)
		return steps[number].ended <= cut;
	if (steps[number].flags & BLOCK_FUA && steps[number].ended <= cut)
		return true;
	for (unsigned i = number + 1; i < step_count; i++)
		if (steps[i].op == BLOCK_FLUSH && steps[i].began >= steps[number].ended &&
			steps[i].ended <= cut)
			return true;
	return false;
}

/* Marks what each sector may have. */
static void allow(bool allowed[SECTORS][256], enum end end, unsigned cut)
{
	memset(allowed, 0, sizeof(bool) * SECTORS * 256);
	for (unsigned sector = 0; sector < SECTORS; sector++)
		allowed[sector][BASE] = true;
	for (unsigned i = 0; i < step_count && steps[i].began < cut; i++) {
		uint8_t value = steps[i].op == BLOCK_ZERO ? 0 : (uint8_t)(i + 1);
		bool promised;

		if (steps[i].op == BLOCK_FLUSH)
			continue;
		promised = is_promised(i, end, cut);
		for (unsigned sector = steps[i].sector; sector < steps[i].sector + steps[i].count; sector++) {
			if (promised)
				memset(allowed[sector], 0, 256);
			allowed[sector][value] = true;
		}
	}
}

static void check_after(const char *base, const char *path, enum end end, unsigned cut)
{
	static bool allowed[SECTORS][256];
	static uint8_t found[SIZE];
	struct disk *disk;
	char why[512];

	if (overlay_open(base, path, &disk, why, sizeof(why)) != 0)
		fail_msg("%s", why);
	assert_int_equal(ask_data(disk, &ring, BLOCK_READ, 0, 0, found, SIZE), 0);
	disk_free(disk);
	allow(allowed, end, cut);
	for (unsigned sector = 0; sector < SECTORS; sector++) {
		const uint8_t *bytes = found + (size_t)sector * SECTOR;

		if (!allowed[sector][bytes[0]] || memcmp(bytes, bytes + 1, SECTOR - 1) != 0)
			fail_msg("seed %u, end %d before %u: sector %u has %u, %u", seed, (int)end, cut,
				sector, bytes[0], bytes[SECTOR - 1]);
	}
}

static void write_image(const char *path, const uint8_t *image, uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);

	assert_int_equal(pwrite(fd, image, size, 0), (ssize_t)size);
	close(fd);
}

static void any_cut(void **state)
{
	static uint8_t bytes[SIZE];
	char base[256], path[256], cut_path[256], why[512];
	struct recorder *recorder;
	struct overlay_base identity;
	struct disk *base_disk;
	const struct file_manner manner = { .readonly = true, .alone = true };

	temporary_file(base, sizeof(base), SIZE);
	temporary_file(path, sizeof(path), 0);
	temporary_file(cut_path, sizeof(cut_path), 0);
	memset(bytes, BASE, SIZE);
	write_image(base, bytes, SIZE);
	seed = *(unsigned *)*state;
	entry_count = step_count = 0;
	unlink(path);
	assert_int_equal(disk_file_open(base, &manner, &base_disk, why, sizeof(why)), 0);
	assert_int_equal(overlay_base_of(disk_file_fd(base_disk), SIZE, &identity), 0);
	assert_int_equal(overlay_file_make(path, &identity, why, sizeof(why)), 0);
	recorder = new_recorder(path);
	assert_int_equal(disk_overlay_new(base_disk, &recorder->disk, recorder->file, &overlay), 0);
	run_guest();
	for (unsigned i = 0; i < ENDS * (entry_count + 1); i++) {
		uint8_t *image = malloc(recorder->size);

		build_image(recorder, i % ENDS, i / ENDS, image);
		write_image(cut_path, image, recorder->size);
		free(image);
		check_after(base, cut_path, i % ENDS, i / ENDS);
	}
	print_message("%u cuts\n", entry_count + 1);
	disk_free(overlay);
	for (unsigned i = 0; i < entry_count; i++)
		free(entries[i].bytes);
}

static int start(void **state)
{
	(void)state;
	return uring_init(&ring);
}

static int stop(void **state)
{
	(void)state;
	uring_fini(&ring);
	return 0;
}

int main(void)
{
	static unsigned seeds[SEEDS] = { 1, 22, 333, 4444 };
	struct CMUnitTest tests[SEEDS];

	for (int i = 0; i < SEEDS; i++)
		tests[i] = (struct CMUnitTest){ "any cut", any_cut, NULL, NULL, &seeds[i] };
	return cmocka_run_group_tests(tests, start, stop);
}
