/* cache/file_data.c -- reads and writes of a file, and what makes a write stable at once.
 *
 * The stage of a request in the ring is its io.done: on_moved, or on_moved_shared for a FUA write that ends in the
 * group's fdatasync.
 */
#include "cache/file.h"
#include "cache/iov.h"
#include "conf/container.h"

static void on_moved(struct uring_op *op, int result, unsigned flags);
static void on_moved_shared(struct uring_op *op, int result, unsigned flags);

/* The description for data at @offset. */
static int file_fd_for(const struct file *file, uint64_t offset)
{
	return offset < file->tail_start ? file->fd : file->sync_fd;
}

static void prep_move(struct io_uring_sqe *sqe, int fd, const struct block_req *req)
{
	const struct iovec *iov = req->iov;

	if (req->op == BLOCK_READ && req->iov_count == 1)
		io_uring_prep_read(sqe, fd, iov->iov_base, (unsigned)iov->iov_len, req->offset);
	else if (req->op == BLOCK_READ)
		io_uring_prep_readv(sqe, fd, iov, req->iov_count, req->offset);
	else if (req->iov_count == 1)
		io_uring_prep_write(sqe, fd, iov->iov_base, (unsigned)iov->iov_len, req->offset);
	else
		io_uring_prep_writev(sqe, fd, iov, req->iov_count, req->offset);
}

static void queue_move(struct file *file, struct block_req *req)
{
	struct io_uring_sqe *sqe = uring_sqe(req->ring, &req->io);

	prep_move(sqe, file_fd_for(file, req->offset), req);
	if ((req->flags & BLOCK_FUA) && req->op == BLOCK_WRITE && req->io.done == on_moved) {
		sqe->rw_flags = RWF_DSYNC;
		/* Some filesystems sync a buffered RWF_DSYNC write in the submission itself, which would block us. */
		if (!file->direct)
			sqe->flags |= IOSQE_ASYNC;
	}
}

static int start_move(
	struct file *file, struct block_req *req, void (*done)(struct uring_op *, int, unsigned))
{
	req->disk = &file->disk;
	req->io.done = done;
	queue_move(file, req);
	return DISK_PENDING;
}

/* Somebody has cut the file, maybe after @req was checked. */
static int moved_nothing(struct file *file, const struct block_req *req)
{
	disk_measure(&file->disk);
	return req->offset + req->length > file->disk.facts.size ? -EINVAL : -EIO;
}

/* Takes in a result of the ring. Returns DISK_PENDING: the rest is on its way; else the final status. */
static int moved(struct file *file, struct block_req *req, int result)
{
	if (result < 0)
		return result;
	if ((uint64_t)result >= req->length)
		return 0;
	if (result == 0)
		return moved_nothing(file, req);
	iov_skip(req, (size_t)result);
	req->offset += (uint64_t)result;
	req->length -= (uint64_t)result;
	queue_move(file, req);
	return DISK_PENDING;
}

static bool counts_as_fua(const struct block_req *req)
{
	return (req->flags & BLOCK_FUA) && req->op == BLOCK_WRITE;
}

/* The data of a FUA write is in the page cache, or the disk's: it needs a sync that starts now or later. */
static int end_shared(struct file *file, struct block_req *req, int status)
{
	if (counts_as_fua(req))
		atomic_fetch_sub_explicit(&file->fua_writes, 1, memory_order_relaxed);
	return status < 0 ? status : flush_submit(&file->flush, req);
}

/* The kernel says that a FUA write is stable, or failed. Where anything failed it may have told another what it owed to this
 * one (cache/witness.h); the sync's description has still to tell it, and does so for good. */
static int end_alone(struct file *file, struct block_req *req, int status)
{
	if (status == 0 && !witness_is_sound(&file->witness))
		return end_shared(file, req, 0);
	if (status < 0)
		witness_tell(&file->witness, &file->fua_writes);
	atomic_fetch_sub_explicit(&file->fua_writes, 1, memory_order_relaxed);
	return status;
}

static void on_moved(struct uring_op *op, int result, unsigned flags)
{
	struct block_req *req = container_of(op, struct block_req, io);
	struct file *file = file_of(req->disk);
	int status = moved(file, req, result);

	(void)flags;
	if (status != DISK_PENDING && counts_as_fua(req))
		status = end_alone(file, req, status);
	disk_finish(req, status);
}

static void on_moved_shared(struct uring_op *op, int result, unsigned flags)
{
	struct block_req *req = container_of(op, struct block_req, io);
	struct file *file = file_of(req->disk);
	int status = moved(file, req, result);

	(void)flags;
	if (status != DISK_PENDING)
		status = end_shared(file, req, status);
	disk_finish(req, status);
}

/* The first @bytes of @req are moved. Returns 0: that was all; or DISK_PENDING: the rest has to go through the ring. */
static int begun(struct block_req *req, size_t bytes)
{
	if (bytes == req->length)
		return 0;
	iov_skip(req, bytes);
	req->offset += bytes;
	req->length -= bytes;
	return DISK_PENDING;
}

/* Writes @req now if that is the cheaper way. Returns DISK_PENDING: (the rest of) it still has to go through the ring;
 * else as disk_submit(). */
static int write_now(struct file *file, struct block_req *req)
{
	int wrote = inline_write(&file->gate, file->fd, req);

	return wrote < 0 ? wrote : begun(req, (size_t)wrote);
}

static int file_write_shared(struct file *file, struct block_req *req)
{
	int status = write_now(file, req);

	return status == DISK_PENDING ? start_move(file, req, on_moved_shared)
				      : end_shared(file, req, status);
}

/* Alone, RWF_DSYNC makes this write stable and nothing else. With others in flight, or probably behind it in this turn,
 * one sync for all is cheaper, since the kernel makes buffered RWF_DSYNC writes of a file one after the other; unless it
 * had to write much else. */
static bool shares_sync(struct file *file, const struct block_req *req)
{
	bool others = atomic_fetch_add_explicit(&file->fua_writes, 1, memory_order_relaxed) > 0;
	bool batch = uring_count_request(req->ring) > 1;
	bool light = flush_note_stable(&file->flush);

	return (light || file->direct) && (others || batch || flush_is_busy(&file->flush));
}

static int file_write_stable(struct file *file, struct block_req *req)
{
	bool shares = req->offset >= file->tail_start; /* never RWF_DSYNC on the sync's description */

	if (counts_as_fua(req))
		shares |= shares_sync(file, req);
	return shares ? file_write_shared(file, req) : start_move(file, req, on_moved);
}

int file_write(struct file *file, struct block_req *req)
{
	int status;

	if ((req->flags & BLOCK_FUA) || req->offset >= file->tail_start)
		return file_write_stable(file, req);
	flush_note_write(&file->flush);
	status = write_now(file, req);
	return status == DISK_PENDING ? start_move(file, req, on_moved) : status;
}

int file_read(struct file *file, struct block_req *req)
{
	size_t got = file->direct ? 0 : inline_read(&file->reads, file->fd, req);
	int status = begun(req, got);

	return status == DISK_PENDING ? start_move(file, req, on_moved) : status;
}
