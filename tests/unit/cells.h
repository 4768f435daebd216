/* tests/unit/cells.h -- for tests of disks that several threads write at once, at any extent.
 *
 * The disk is cut into cells of odd sizes, so that neighbours share blocks. Each cell belongs to one thread, which
 * alone changes it and keeps a model of it. The last cell ends in a part of a block. */
#pragma once

#include "tests/unit/disks.h"

enum { THREADS = 3, DEPTH = 8, CELLS_EACH = 40, CELLS = THREADS * CELLS_EACH };

struct cell {
	uint64_t start, length;
	char *model;
	bool busy;
};

struct worker;

/* One request in flight. */
struct slot {
	struct block_req req;
	struct iovec iov[3];
	struct worker *worker;
	struct cell *cell;
	char *data;
};

struct worker {
	struct disk *disk;
	struct cell *cells;
	unsigned number, seed, left, in_flight, errors;
	struct uring ring;
	struct slot slots[DEPTH];
};

static struct cell cells[CELLS];

static unsigned chance(struct worker *worker, unsigned below)
{
	return (unsigned)rand_r(&worker->seed) % below;
}

static void fail_once(struct worker *worker, const struct slot *slot, const char *what, int status)
{
	if (worker->errors++ == 0)
		print_message("# thread %u: op %d at %llu + %llu: %s (%d)\n", worker->number,
			(int)slot->req.op, (unsigned long long)slot->cell->start,
			(unsigned long long)slot->cell->length, what, status);
}

/* Splits the data at odd places, as a socket's buffers or a guest's pages may be. */
static void set_iov(struct slot *slot, uint64_t length, unsigned parts)
{
	uint64_t step = length / parts;

	for (unsigned i = 0; i < parts; i++)
		slot->iov[i] = (struct iovec){ .iov_base = slot->data + i * step,
			.iov_len = i == parts - 1 ? length - i * step : step };
	slot->req.iov = slot->iov;
	slot->req.iov_count = parts;
}

static struct cell *idle_cell(struct worker *worker)
{
	struct cell *cell;

	do
		cell = &worker->cells[chance(worker, CELLS_EACH) * THREADS + worker->number];
	while (cell->busy);
	return cell;
}

static void start(struct slot *slot);

static void check_read(struct slot *slot, uint64_t offset, uint64_t length)
{
	if (memcmp(slot->data, slot->cell->model + (offset - slot->cell->start), length) != 0)
		fail_once(slot->worker, slot, "read differs from the model", 0);
}

/* What was asked, since layers may change the request. */
struct asked_range {
	uint64_t offset, length;
};
static struct asked_range asked_ranges[THREADS][DEPTH];

static struct asked_range *asked_of(struct slot *slot)
{
	return &asked_ranges[slot->worker->number][slot - slot->worker->slots];
}

static void end(struct slot *slot, int status)
{
	struct worker *worker = slot->worker;

	if (status != 0)
		fail_once(worker, slot, "status", status);
	else if (slot->req.op == BLOCK_READ)
		check_read(slot, asked_of(slot)->offset, asked_of(slot)->length);
	if (slot->cell)
		slot->cell->busy = false;
	worker->in_flight--;
}

static void on_done(struct block_req *req, int status)
{
	struct slot *slot = container_of(req, struct slot, req);
	struct worker *worker = slot->worker;

	end(slot, status);
	start(slot);
	if (worker->in_flight == 0)
		uring_stop(&worker->ring);
}

static void choose(struct slot *slot)
{
	static const enum block_op ops[] = { BLOCK_WRITE, BLOCK_WRITE, BLOCK_WRITE, BLOCK_READ, BLOCK_READ,
		BLOCK_ZERO };
	struct worker *worker = slot->worker;
	struct cell *cell = idle_cell(worker);
	uint64_t length = 1 + chance(worker, (unsigned)cell->length);
	uint64_t offset = cell->start + chance(worker, (unsigned)(cell->length - length + 1));
	char *model = cell->model + (offset - cell->start);

	slot->cell = cell;
	cell->busy = true;
	*asked_of(slot) = (struct asked_range){ .offset = offset, .length = length };
	slot->req = (struct block_req){ .op = ops[chance(worker, 6)],
		.offset = offset,
		.length = length,
		.ring = &worker->ring,
		.done = on_done };
	if (slot->req.op != BLOCK_READ && chance(worker, 8) == 0)
		slot->req.flags = BLOCK_FUA;
	if (slot->req.op == BLOCK_ZERO) {
		memset(model, 0, length);
		return;
	}
	if (slot->req.op == BLOCK_WRITE) {
		memset(slot->data, (int)chance(worker, 256), length);
		memcpy(model, slot->data, length);
	} else {
		memset(slot->data, 0xee, length);
	}
	set_iov(slot, length, length < 3 ? 1 : 1 + chance(worker, 3));
}

static void start(struct slot *slot)
{
	struct worker *worker = slot->worker;

	while (worker->left > 0) {
		int status;

		worker->left--;
		worker->in_flight++;
		choose(slot);
		status = disk_submit(worker->disk, &slot->req);
		if (status == DISK_PENDING)
			return;
		end(slot, status);
	}
}

static void *work(void *arg)
{
	struct worker *worker = arg;

	worker->errors += uring_init(&worker->ring) != 0;
	for (int i = 0; i < DEPTH; i++) {
		worker->slots[i].worker = worker;
		worker->slots[i].data = malloc(1 << 20);
		start(&worker->slots[i]);
	}
	uring_run(&worker->ring);
	for (int i = 0; i < DEPTH; i++)
		free(worker->slots[i].data);
	uring_fini(&worker->ring);
	return NULL;
}

static uint64_t cell_length(int i, uint64_t at, unsigned *seed)
{
	if (i == CELLS - 1)
		return 512 - at % 512 + 77; /* crosses into the tail */
	if (i >= CELLS - 8)
		return 200 + (uint64_t)rand_r(seed) % 400; /* some share the tail's page and not its block */
	if (i % 17 == 5)
		return 200000 + (uint64_t)rand_r(seed) % 500000; /* several steps of a bounce buffer */
	return 1 + (uint64_t)rand_r(seed) % 3000;
}

/* Returns the size of the whole, of zeroes: never a multiple of a block. */
static inline uint64_t cut_cells(unsigned seed)
{
	uint64_t at = 0;

	for (int i = 0; i < CELLS; i++) {
		uint64_t length = cell_length(i, at, &seed);

		cells[i] = (struct cell){ .start = at, .length = length, .model = calloc(1, length) };
		at += length;
	}
	return at;
}

static inline void drop_cells(void)
{
	for (int i = 0; i < CELLS; i++)
		free(cells[i].model);
}

/* @rounds requests of each thread on @disk, which is as the models are. */
static inline void hammer(struct disk *disk, unsigned seed, unsigned rounds)
{
	static struct worker workers[THREADS];
	pthread_t threads[THREADS];

	memset(workers, 0, sizeof(workers));
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i].disk = disk;
		workers[i].cells = cells;
		workers[i].number = i;
		workers[i].seed = seed * 31 + i;
		workers[i].left = rounds;
		pthread_create(&threads[i], NULL, work, &workers[i]);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(workers[i].errors, 0);
	}
}
