/* cache/disk_memory.c -- private anonymous memory, copied to and from.
 *
 * Workers copy without a lock: two requests that overlap in time and place leave either's bytes, as on any disk.
 * Madvise(2) replaces whole pages by zeroes at once, beside reads and writes of others.
 */
#include "cache/disk_memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cache/bitmap.h"
#include "cache/iov.h"
#include "conf/container.h"

/* Zeroed in one turn: some milliseconds, where every page has to be given back or filled. */
#define ZERO_STEP (32u << 20)

/* Looked at for one status, bytes: 4 MiB of bits, a millisecond. Who asks about more asks again. */
#define STATUS_STEP (128ull << 30)

struct memory {
	struct disk disk;
	char *bytes; /* owned: facts.size, rounded up to a page */
	size_t mapped, page;
	/* Owned: a bit a page. shared: set behind a write, cleared before memory is given back, so whoever meets whom, a
	 * page without its bit holds zeroes. */
	_Atomic uint64_t *held;
};

static struct memory *memory_of(struct disk *disk)
{
	return container_of(disk, struct memory, disk);
}

static int memory_read(struct memory *memory, struct block_req *req)
{
	iov_copy_in(req, memory->bytes + req->offset, req->length);
	return 0;
}

static uint64_t pages_end(const struct memory *memory, uint64_t end)
{
	return (end + memory->page - 1) / memory->page;
}

static void hold(const struct memory *memory, uint64_t start, uint64_t end)
{
	uint64_t last = pages_end(memory, end);

	atomic_thread_fence(memory_order_seq_cst); /* a bit that is found set was set behind our bytes */
	for (uint64_t at = start / memory->page; at < last; at = (at / 64 + 1) * 64) {
		uint64_t bits = bitmap_bits(at, last);

		if (bits & ~atomic_load_explicit(&memory->held[at / 64], memory_order_relaxed))
			atomic_fetch_or_explicit(&memory->held[at / 64], bits, memory_order_release);
	}
}

static void let_go(const struct memory *memory, uint64_t first_page, uint64_t last)
{
	for (uint64_t at = first_page; at < last; at = (at / 64 + 1) * 64)
		if (atomic_load_explicit(&memory->held[at / 64], memory_order_relaxed))
			atomic_fetch_and_explicit(
				&memory->held[at / 64], ~bitmap_bits(at, last), memory_order_acq_rel);
}

static int memory_write(struct memory *memory, struct block_req *req)
{
	uint64_t offset = req->offset, length = req->length;

	iov_copy_out(req, memory->bytes + offset, length);
	hold(memory, offset, offset + length);
	return 0;
}

static int memory_do_nothing(struct memory *memory, struct block_req *req)
{
	(void)memory;
	(void)req;
	return 0;
}

/* Whole pages are given back, edges are filled. */
static void give_back(const struct memory *memory, uint64_t start, uint64_t end)
{
	uint64_t first = (start + memory->page - 1) & ~(uint64_t)(memory->page - 1);
	uint64_t last = end & ~(uint64_t)(memory->page - 1);

	if (first >= last) {
		memset(memory->bytes + start, 0, end - start);
		return;
	}
	let_go(memory, first / memory->page, last / memory->page);
	if (madvise(memory->bytes + first, last - first, MADV_DONTNEED) < 0)
		memset(memory->bytes + first, 0, last - first);
	memset(memory->bytes + start, 0, first - start);
	memset(memory->bytes + last, 0, end - last);
}

/* Zeroes the first ZERO_STEP bytes of what is left. */
static void zero_step(const struct memory *memory, struct block_req *req)
{
	uint64_t step = req->length < ZERO_STEP ? req->length : ZERO_STEP;

	if (req->flags & BLOCK_NO_HOLE) {
		memset(memory->bytes + req->offset, 0, step);
		hold(memory, req->offset, req->offset + step);
	} else {
		give_back(memory, req->offset, req->offset + step);
	}
	req->offset += step;
	req->length -= step;
}

static void on_next_turn(struct mail *mail)
{
	struct block_req *req = container_of(mail, struct block_req, wait.mail);

	zero_step(memory_of(req->disk), req);
	if (req->length > 0)
		uring_post(req->ring, mail);
	else
		req->done(req, 0);
}

static int memory_zero(struct memory *memory, struct block_req *req)
{
	zero_step(memory, req);
	if (req->length == 0)
		return 0;
	req->disk = &memory->disk;
	req->wait.mail.read = on_next_turn;
	uring_post(req->ring, &req->wait.mail);
	return DISK_PENDING;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Pages that nobody has written since they were given back are holes. */
static int memory_status(struct memory *memory, struct block_req *req)
{
	uint64_t at = req->offset, end = req->offset + smaller(req->length, STATUS_STEP), run_end;
	bool goes_on = true;

	req->extents.count = 0;
	if (req->flags & BLOCK_ONE_EXTENT)
		req->extents.max = 1;
	while (at < end && goes_on) {
		bool held = bitmap_run(memory->held, at / memory->page, pages_end(memory, end), &run_end);
		uint64_t next = smaller(run_end * memory->page, end);

		goes_on = disk_extent_add(req, next - at, held ? 0 : BLOCK_EXTENT_HOLE | BLOCK_EXTENT_ZERO);
		at = next;
	}
	return 0;
}

static int memory_submit(struct disk *disk, struct block_req *req)
{
	static int (*const submit[BLOCK_OPS])(struct memory * memory, struct block_req * req) = {
		[BLOCK_READ] = memory_read,
		[BLOCK_WRITE] = memory_write,
		[BLOCK_FLUSH] = memory_do_nothing,
		[BLOCK_TRIM] = memory_zero,
		[BLOCK_ZERO] = memory_zero,
		[BLOCK_CACHE] = memory_do_nothing,
		[BLOCK_STATUS] = memory_status,
	};

	return submit[req->op](memory_of(disk), req);
}

static size_t held_bytes(const struct memory *memory)
{
	return (memory->mapped / memory->page + 63) / 64 * sizeof(uint64_t);
}

/* Zeroes that take memory as they are written. Returns NULL where there is no room for them. */
static void *reserve(size_t bytes)
{
	void *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static void memory_free(struct disk *disk)
{
	struct memory *memory = memory_of(disk);

	munmap(memory->bytes, memory->mapped);
	munmap((void *)memory->held, held_bytes(memory));
	free(memory);
}

static struct disk_facts facts_of(uint64_t size)
{
	return (struct disk_facts){
		.size = size,
		.block_size_min = 1,
		.block_size_preferred = 4096,
		.data_max = BLOCK_DATA_MAX,
		.can_flush = true,
		.can_fua = true,
		.can_trim = true,
		.can_zero = true,
		.can_fast_zero = true,
		.can_cache = true,
		.can_status = true,
		.can_multi_conn = true,
	};
}

int disk_memory_open(uint64_t size, struct disk **out)
{
	static const struct disk_ops ops = { .submit = memory_submit, .free = memory_free };
	struct memory *memory = calloc(1, sizeof(*memory));

	if (!memory)
		return -ENOMEM;
	memory->page = (size_t)sysconf(_SC_PAGESIZE);
	memory->mapped = (size + memory->page - 1) & ~(memory->page - 1);
	memory->bytes = reserve(memory->mapped);
	memory->held = memory->bytes ? reserve(held_bytes(memory)) : NULL;
	if (!memory->held) {
		if (memory->bytes)
			munmap(memory->bytes, memory->mapped);
		free(memory);
		return -ENOMEM;
	}
	memory->disk.ops = &ops;
	memory->disk.facts = facts_of(size);
	*out = &memory->disk;
	return 0;
}
