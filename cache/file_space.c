/* cache/file_space.c -- trim, zero and cache: what a file does about bytes that nobody sends.
 *
 * A zero goes down a ladder until a rung holds: SPACE_PUNCH (fallocate PUNCH_HOLE, frees the space), SPACE_ZERO
 * (ZERO_RANGE, keeps it), and at last zeroes written as data. What the kernel does, by fs/ext4, fs/xfs, block/fops.c:
 *
 *			regular file		block device
 *   PUNCH_HOLE		frees blocks; any	unmaps where that leaves zeroes, else EOPNOTSUPP; never writes;
 *			byte range		multiples of the logical block only
 *   ZERO_RANGE		unwritten extents; any	zeroes without unmapping, by writing where the device has nothing
 *			byte range		better; multiples of the logical block only
 *
 * Off a device's logical block the middle goes that way, and its edges are written.
 *
 * A trap: on a block device fallocate(2) drops the range's pages, dirty ones too, before it finds that the device
 * cannot. Bytes that were written and acknowledged are gone by then; so a zero that got so far has to be finished, a
 * fast one too, and a device that says beforehand that it cannot is not asked.
 *
 * The stage of a request in the ring is its io.done: a zero moves from on_punched to on_zeroed as rungs fail, to
 * on_edge once the middle is done, or to on_zeroes_written at the foot of the ladder.
 */
#include <fcntl.h>
#include <linux/falloc.h>

#include "cache/file.h"
#include "cache/file_facts.h"
#include "conf/container.h"

/* Zeroes as data, a chunk at a time. The buffer is never written to, so it is one page of zeroes, mapped often. */
#define ZERO_CHUNK (1u << 20)
static char zeroes[ZERO_CHUNK] __attribute__((aligned(FILE_GRID_MAX)));

/* Zeroes that may have to be written, by us or by the kernel for a device: no client can keep the disk busy with a single
 * request for longer than this takes, nor the server from ending. */
#define WRITTEN_ZEROES_MAX (4ull << 30)

/* A hint is worth no more: one request does not fill the page cache, nor hold a kernel thread for long. */
#define CACHE_HINT_MAX BLOCK_DATA_MAX

static uint64_t round_down(uint64_t value, uint64_t grid)
{
	return value & ~(grid - 1);
}

static uint64_t round_up(uint64_t value, uint64_t grid)
{
	return round_down(value + grid - 1, grid);
}

/* The part of a request that fallocate(2) takes. */
struct middle {
	uint64_t start, end; /* start >= end: there is none */
};

static struct middle middle_of(const struct file *file, const struct block_req *req)
{
	return (struct middle){
		.start = round_up(req->offset, file->sector),
		.end = round_down(req->offset + req->length, file->sector),
	};
}

static bool has_way(const struct file *file, enum space_way way)
{
	return !atomic_load_explicit(&file->lacks[way], memory_order_relaxed);
}

/* Whether a way that ended in @result is to be given up, for this request or for good. */
static bool has_refused(struct file *file, enum space_way way, int result)
{
	if (result == -EOPNOTSUPP)
		atomic_store_explicit(&file->lacks[way], true, memory_order_relaxed);
	/* EBUSY: somebody has claimed the device for himself, which forbids the cheap ways and no write. */
	return result == -EOPNOTSUPP || result == -EBUSY;
}

static int fallocate_start(struct file *file, struct block_req *req, enum space_way way,
	void (*done)(struct uring_op *, int, unsigned))
{
	static const int modes[SPACE_WAYS] = {
		[SPACE_PUNCH] = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		[SPACE_ZERO] = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
	};
	struct middle middle = middle_of(file, req);
	struct io_uring_sqe *sqe = uring_sqe(req->ring, &req->io);

	io_uring_prep_fallocate(
		sqe, file->fd, modes[way], (off_t)middle.start, (off_t)(middle.end - middle.start));
	req->disk = &file->disk;
	req->io.done = done;
	return DISK_PENDING;
}

/* The operation has happened; what is missing is what FUA promises. */
static int space_end(struct file *file, struct block_req *req, int status)
{
	return status == 0 && (req->flags & BLOCK_FUA) ? flush_submit(&file->flush, req) : status;
}

static void on_trimmed(struct uring_op *op, int result, unsigned flags)
{
	struct block_req *req = container_of(op, struct block_req, io);
	struct file *file = file_of(req->disk);

	(void)flags;
	if (has_refused(file, SPACE_PUNCH, result))
		result = 0; /* a trim is advice */
	disk_finish(req, space_end(file, req, result));
}

int file_trim(struct file *file, struct block_req *req)
{
	struct middle middle = middle_of(file, req);

	if (!has_way(file, SPACE_PUNCH) || middle.start >= middle.end)
		return 0;
	return fallocate_start(file, req, SPACE_PUNCH, on_trimmed);
}

/* Zeroes as data, from the front of what is left. */
static void queue_zeroes(struct file *file, struct block_req *req, uint64_t length)
{
	struct io_uring_sqe *sqe = uring_sqe(req->ring, &req->io);
	unsigned chunk = length < ZERO_CHUNK ? (unsigned)length : ZERO_CHUNK;

	io_uring_prep_write(sqe, file->fd, zeroes, chunk, req->offset);
}

/* Takes in the result of queue_zeroes(). Returns 0, or the final status. */
static int zeroes_written(struct block_req *req, int result)
{
	if (result <= 0)
		return result < 0 ? result : -EIO;
	req->offset += (uint64_t)result;
	req->length -= (uint64_t)result;
	return 0;
}

static void on_zeroes_written(struct uring_op *op, int result, unsigned flags)
{
	struct block_req *req = container_of(op, struct block_req, io);
	struct file *file = file_of(req->disk);
	int status = zeroes_written(req, result);

	(void)flags;
	if (status == 0 && req->length > 0)
		queue_zeroes(file, req, req->length);
	else
		disk_finish(req, space_end(file, req, status));
}

static int write_zeroes(struct file *file, struct block_req *req)
{
	if (req->flags & BLOCK_FAST_ZERO)
		return -ENOTSUP;
	if (req->length > WRITTEN_ZEROES_MAX)
		return -EOVERFLOW;
	req->disk = &file->disk;
	req->io.done = on_zeroes_written;
	queue_zeroes(file, req, req->length);
	return DISK_PENDING;
}

static void on_edge(struct uring_op *op, int result, unsigned flags);

/* The middle reads as zeroes. Writes the part before it, then the part behind it; skips it in between. */
static int write_edges(struct file *file, struct block_req *req)
{
	uint64_t end = req->offset + req->length, edge_end = round_up(req->offset, file->sector);

	if (edge_end == req->offset) {
		req->offset = round_down(end, file->sector);
		req->length = end - req->offset;
		edge_end = end;
	}
	if (edge_end > end)
		edge_end = end;
	if (req->length == 0)
		return space_end(file, req, 0);
	req->io.done = on_edge;
	queue_zeroes(file, req, edge_end - req->offset);
	return DISK_PENDING;
}

static void on_edge(struct uring_op *op, int result, unsigned flags)
{
	struct block_req *req = container_of(op, struct block_req, io);
	struct file *file = file_of(req->disk);
	int status = zeroes_written(req, result);

	(void)flags;
	if (status == 0)
		status = req->length > 0 ? write_edges(file, req) : space_end(file, req, 0);
	disk_finish(req, status);
}

static void on_zeroed(struct uring_op *op, int result, unsigned flags)
{
	struct block_req *req = container_of(op, struct block_req, io);
	struct file *file = file_of(req->disk);
	int status = result;

	(void)flags;
	if (has_refused(file, SPACE_ZERO, result))
		status = write_zeroes(file, req);
	else if (result == 0)
		status = write_edges(file, req);
	disk_finish(req, status);
}

static int zero_range(struct file *file, struct block_req *req)
{
	/* On a device the kernel may write the zeroes itself: not what FAST_ZERO means. */
	bool may = !(file->is_device && (req->flags & BLOCK_FAST_ZERO));

	return may && has_way(file, SPACE_ZERO) ? fallocate_start(file, req, SPACE_ZERO, on_zeroed)
						: write_zeroes(file, req);
}

static void on_punched(struct uring_op *op, int result, unsigned flags)
{
	struct block_req *req = container_of(op, struct block_req, io);
	struct file *file = file_of(req->disk);
	int status = result;

	(void)flags;
	if (has_refused(file, SPACE_PUNCH, result)) {
		if (file->is_device && !file->direct && result == -EOPNOTSUPP)
			req->flags &= ~(unsigned)BLOCK_FAST_ZERO; /* the trap */
		status = zero_range(file, req);
	} else if (result == 0) {
		status = write_edges(file, req);
	}
	disk_finish(req, status);
}

int file_zero(struct file *file, struct block_req *req)
{
	struct middle middle = middle_of(file, req);

	/* At once: for the trap's sake a device's zero is finished, once begun. */
	if (file->is_device && req->length > WRITTEN_ZEROES_MAX)
		return req->flags & BLOCK_FAST_ZERO ? -ENOTSUP : -EOVERFLOW;
	if (middle.start >= middle.end)
		return write_zeroes(file, req);
	if (!(req->flags & BLOCK_NO_HOLE) && has_way(file, SPACE_PUNCH))
		return fallocate_start(file, req, SPACE_PUNCH, on_punched);
	return zero_range(file, req);
}

static void on_advised(struct uring_op *op, int result, unsigned flags)
{
	struct block_req *req = container_of(op, struct block_req, io);

	(void)result; /* a hint cannot fail */
	(void)flags;
	req->done(req, 0);
}

int file_cache(struct file *file, struct block_req *req)
{
	uint64_t length = req->length < CACHE_HINT_MAX ? req->length : CACHE_HINT_MAX;

	if (file->direct)
		return 0; /* no page cache to fill */
	io_uring_prep_fadvise(
		uring_sqe(req->ring, &req->io), file->fd, req->offset, (off_t)length, POSIX_FADV_WILLNEED);
	req->io.done = on_advised;
	return DISK_PENDING;
}
