/* A volatile cache under any requests, in flight together, and any power cuts: nothing that was flushed or written with FUA
 * is lost, and every sector has a version that somebody wrote. */
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cache/disk_memory.h"
#include "cache/volatile.h"
#include "conf/container.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/late_disk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	SECTOR = 512,
	SECTORS = 96,
	SIZE = SECTORS * SECTOR,
	DEPTH = 4,
	DATA = 32 * SECTOR,
	ROOM = VOLATILE_BYTES_LEAST
};

static struct uring ring;
static struct mailbox box;
static struct disk *disk;
static struct late_disk late;

/* What a sector may be read as once nothing is in flight, and be found as after a cut. */
static bool seen[SECTORS][256], survives[SECTORS][256];

static struct slot {
	struct block_req req;
	struct iovec iov;
	uint8_t data[DATA];
	enum block_op op;
	unsigned flags, sector, count;
	uint8_t value;
} slots[DEPTH];
static unsigned in_flight;

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void on_done(struct block_req *req, int status)
{
	(void)req;
	require(status == 0);
	if (--in_flight == 0)
		uring_stop(&ring);
}

static void begin(struct slot *slot, struct input *input, unsigned index)
{
	static const enum block_op ops[] = { BLOCK_WRITE, BLOCK_WRITE, BLOCK_WRITE, BLOCK_ZERO, BLOCK_TRIM,
		BLOCK_FLUSH, BLOCK_READ, BLOCK_WRITE };
	uint8_t how = (uint8_t)next(input, 1);
	int status;

	slot->op = ops[how % 8];
	slot->flags = how & 8 && slot->op != BLOCK_READ && slot->op != BLOCK_FLUSH ? BLOCK_FUA : 0;
	/* Each has sectors of its own, so that it is known who was last. */
	slot->sector = (unsigned)next(input, 1) % (SECTORS / DEPTH) + index * (SECTORS / DEPTH);
	slot->count = 1 + (unsigned)next(input, 1) % ((index + 1) * (SECTORS / DEPTH) - slot->sector);
	slot->value = slot->op == BLOCK_WRITE ? (uint8_t)next(input, 1) : 0;
	memset(slot->data, slot->value, DATA);
	slot->iov = (struct iovec){ slot->data, (size_t)slot->count * SECTOR };
	slot->req =
		(struct block_req){ .op = slot->op, .flags = slot->flags, .done = on_done, .ring = &ring };
	if (slot->op != BLOCK_FLUSH) {
		slot->req.offset = (uint64_t)slot->sector * SECTOR;
		slot->req.length = (uint64_t)slot->count * SECTOR;
	}
	if (slot->op == BLOCK_WRITE || slot->op == BLOCK_READ) {
		slot->req.iov = &slot->iov;
		slot->req.iov_count = 1;
	}
	in_flight++;
	status = disk_submit(disk, &slot->req);
	if (status != DISK_PENDING)
		on_done(&slot->req, status);
}

/* What it has done, when all of them have ended. A flush covers what ended before they began alone. */
static void note(const struct slot *slot)
{
	for (unsigned i = slot->sector; i < slot->sector + slot->count; i++) {
		if (slot->op == BLOCK_READ)
			require(seen[i][slot->data[(i - slot->sector) * SECTOR]]);
		if (slot->op != BLOCK_WRITE && slot->op != BLOCK_ZERO && slot->op != BLOCK_TRIM)
			continue;
		if (slot->op != BLOCK_TRIM)
			memset(seen[i], 0, 256);
		if (slot->op != BLOCK_TRIM && slot->flags)
			memset(survives[i], 0, 256);
		seen[i][slot->value] = survives[i][slot->value] = true;
	}
}

static void run_some(struct input *input)
{
	bool flushed = false;

	for (unsigned i = 0; i < DEPTH; i++)
		begin(&slots[i], input, i);
	ring.stopping = false;
	if (in_flight > 0)
		uring_run(&ring);
	for (unsigned i = 0; i < DEPTH; i++)
		flushed |= slots[i].op == BLOCK_FLUSH;
	if (flushed)
		memcpy(survives, seen, sizeof(seen));
	for (unsigned i = 0; i < DEPTH; i++)
		note(&slots[i]);
	require(volatile_count(disk).bytes <= ROOM);
}

static bool is_cut;

static void on_cut(struct mail *mail)
{
	(void)mail;
	is_cut = true;
}

static void cut(struct input *input)
{
	static const uint32_t sectors[] = { 0, SECTOR, 4096 };
	struct volatile_cut cut = { .owner = &box, .done.read = on_cut };
	uint8_t how = (uint8_t)next(input, 1);

	cut.order = (struct survival_order){ (enum survival_keep)(how % 3), sectors[how / 3 % 3],
		next(input, 1) };
	is_cut = false;
	volatile_cut(disk, &cut);
	while (!is_cut) {
		poll(&(struct pollfd){ .fd = box.fd, .events = POLLIN }, 1, -1);
		mailbox_drain(&box);
	}
	require(cut.error == 0 && volatile_count(disk).held == 0 && volatile_count(disk).bytes == 0);
}

/* @adopts: what is found is all that there can be from now on. */
static void check(bool allowed[SECTORS][256], bool adopts)
{
	struct slot *slot = &slots[0];

	for (unsigned i = 0; i < SECTORS; i++) {
		slot->iov = (struct iovec){ slot->data, SECTOR };
		slot->req = (struct block_req){ .op = BLOCK_READ,
			.offset = (uint64_t)i * SECTOR,
			.length = SECTOR,
			.iov = &slot->iov,
			.iov_count = 1,
			.done = on_done,
			.ring = &ring };
		in_flight++;
		ring.stopping = false;
		if (disk_submit(disk, &slot->req) == DISK_PENDING)
			uring_run(&ring);
		else
			in_flight--;
		require(allowed[i][slot->data[0]] && memcmp(slot->data, slot->data + 1, SECTOR - 1) == 0);
		if (!adopts)
			continue;
		memset(seen[i], 0, 256);
		memset(survives[i], 0, 256);
		seen[i][slot->data[0]] = survives[i][slot->data[0]] = true;
	}
}

static void late_free(struct disk *above)
{
	disk_free(container_of(above, struct late_disk, disk)->below);
}

static void open_all(void)
{
	static const struct disk_ops ops = { .submit = late_submit, .free = late_free };
	struct disk *memory;

	require(disk_memory_open(SIZE, &memory) == 0);
	late_disk_init(&late, memory);
	late.disk.ops = &ops;
	require(volatile_open(&late.disk, ROOM, &disk) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };

	if (!box.fd)
		require(uring_init(&ring) == 0 && mailbox_init(&box) == 0);
	open_all();
	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; i < SECTORS; i++)
		seen[i][0] = true;
	memcpy(survives, seen, sizeof(seen));
	while (input.size > 0) {
		for (unsigned i = (unsigned)next(&input, 1) % 16; i > 0; i--)
			run_some(&input);
		check(seen, false);
		cut(&input);
		check(survives, true);
	}
	disk_free(disk);
	return 0;
}
