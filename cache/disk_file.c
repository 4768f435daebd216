/* cache/disk_file.c -- a file as a disk: its opening and closing, and who carries out which request. */
#include "cache/disk_file.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/file.h"
#include "cache/file_facts.h"
#include "cache/identity.h"
#include "conf/container.h"
#include "conf/log.h"

struct file *file_of(struct disk *disk)
{
	return container_of(disk, struct file, disk);
}

static int file_flush(struct file *file, struct block_req *req)
{
	return file->disk.facts.readonly ? 0 : flush_submit(&file->flush, req);
}

static int file_status(struct file *file, struct block_req *req)
{
	return seeker_submit(&file->seeker, req);
}

static int file_submit(struct disk *disk, struct block_req *req)
{
	static int (*const submit[BLOCK_OPS])(struct file * file, struct block_req * req) = {
		[BLOCK_READ] = file_read,
		[BLOCK_WRITE] = file_write,
		[BLOCK_FLUSH] = file_flush,
		[BLOCK_TRIM] = file_trim,
		[BLOCK_ZERO] = file_zero,
		[BLOCK_CACHE] = file_cache,
		[BLOCK_STATUS] = file_status,
	};

	return submit[req->op](file_of(disk), req);
}

/* The end is in the inode, in memory, for a file and for a device. */
static void file_measure(struct disk *disk)
{
	struct file *file = file_of(disk);
	off_t end = lseek(file->fd, 0, SEEK_END);
	uint64_t size = (uint64_t)end, grid = disk->facts.block_size_min;

	if (end < 0)
		return;
	if (file->tail_start != UINT64_MAX && size > file->size_opened)
		size = file->size_opened;
	if (size < file->tail_start)
		size &= ~(grid - 1);
	disk->facts.size = size;
}

static bool file_has_lost(struct disk *disk)
{
	return flush_has_failed(&file_of(disk)->flush);
}

static void file_close(struct file *file)
{
	file_lock_drop(&file->lock);
	if (file->fd >= 0)
		close(file->fd);
	if (file->sync_fd >= 0)
		close(file->sync_fd);
	witness_fini(&file->witness);
	free(file->path);
	free(file);
}

/* What group commit saved, for an operator who wonders what his guests' flushes cost. */
static void log_flushes(struct file *file)
{
	struct flush_counts counts = flush_count(&file->flush);

	if (counts.asked > 0)
		log_line(file->tells ? LOG_INFO : LOG_DEBUG,
			"%s: %" PRIu64 " flushes were answered by %" PRIu64 " fdatasyncs", file->path,
			counts.asked, counts.done);
}

static void file_free(struct disk *disk)
{
	struct file *file = file_of(disk);

	log_flushes(file);
	assert(atomic_load_explicit(&file->fua_writes, memory_order_relaxed) == 0);
	flush_fini(&file->flush);
	seeker_fini(&file->seeker);
	file_close(file);
}

static const struct disk_ops file_ops = {
	.submit = file_submit, .measure = file_measure, .has_lost = file_has_lost, .free = file_free
};

/* What went wrong while opening, for an operator. */
struct complaint {
	char *why;
	size_t size;
};

__attribute__((format(printf, 3, 4))) static int complain(
	const struct complaint *complaint, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(complaint->why, complaint->size, format, args);
	va_end(args);
	return error;
}

static bool is_openable(const struct stat *stat)
{
	return S_ISREG(stat->st_mode) || S_ISBLK(stat->st_mode);
}

/* The rest of the path of a file in a folder is for messages. */
static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int stat_in(const struct folder *folder, const char *path, struct stat *found)
{
	if (folder)
		return folder_file_stat(folder, last_name(path), found);
	return stat(path, found) < 0 ? -errno : 0;
}

static int open_in(const struct folder *folder, const char *path, int flags)
{
	int fd;

	if (folder)
		return folder_file_open(folder, last_name(path), flags);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Returns a descriptor, and its stat; or -errno. */
static int open_description(const char *path, const struct file_manner *manner, bool direct,
	struct stat *found, const struct complaint *complaint)
{
	int flags =
		(manner->readonly || manner->looks ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0) | O_NOCTTY;
	int fd, error;

	/* Before open(2), which would wait for the other end of a FIFO, or rewind a tape. */
	error = stat_in(manner->folder, path, found);
	if (error)
		return complain(complaint, error, "%s: stat: %s", path, strerror(-error));
	if (!is_openable(found))
		return complain(complaint, -EINVAL, "%s: neither a regular file nor a block device", path);
	fd = open_in(manner->folder, path, flags);
	if (fd < 0) {
		error = fd;
		return complain(complaint, error, "%s: open%s: %s%s", path, direct ? " with O_DIRECT" : "",
			strerror(-error),
			direct && error == -EINVAL ? " (its filesystem cannot bypass the page cache)" : "");
	}
	if (fstat(fd, found) < 0 || !is_openable(found)) {
		close(fd);
		return complain(complaint, -EINVAL, "%s: fstat: changed while it was opened", path);
	}
	return fd;
}

static int open_data(struct file *file, const struct file_manner *manner, struct stat *found,
	struct file_facts *facts, const struct complaint *complaint)
{
	const char *step = "";
	int error;

	file->fd = open_description(file->path, manner, manner->direct, found, complaint);
	if (file->fd < 0)
		return file->fd;
	error = file_facts_get(file->fd, found, manner->direct, facts, &step);
	if (error)
		return complain(complaint, error, "%s: %s: %s", file->path, step, strerror(-error));
	return 0;
}

/* Another description of the file whose stat is @data. Returns a descriptor or -errno. */
static int open_again(const struct file *file, const struct file_manner *manner, bool direct,
	const struct stat *data, const struct complaint *complaint)
{
	struct stat found;
	int fd = open_description(file->path, manner, direct, &found, complaint);

	if (fd < 0 || (found.st_dev == data->st_dev && found.st_ino == data->st_ino &&
			      found.st_rdev == data->st_rdev))
		return fd;
	close(fd);
	return complain(complaint, -EBUSY, "%s: replaced by another file while it was opened", file->path);
}

static int open_sync(struct file *file, const struct file_manner *manner, const struct stat *data,
	const struct complaint *complaint)
{
	bool direct = manner->direct && file->tail_start == UINT64_MAX;

	file->sync_fd = open_again(file, manner, direct, data, complaint);
	return file->sync_fd < 0 ? file->sync_fd : 0;
}

static int open_witness(struct file *file, const struct file_manner *manner, const struct stat *data,
	const struct complaint *complaint)
{
	const struct file_manner reads = { .folder = manner->folder, .readonly = true };
	int fd;

	if (manner->readonly || manner->looks || manner->direct)
		return 0;
	fd = open_again(file, &reads, false, data, complaint);
	if (fd < 0)
		return fd;
	witness_begin(&file->witness, fd);
	return 0;
}

/* Both descriptions carry writes: those that a killed server leaves in the kernel keep its locks. */
static int lock_file(struct file *file, const struct file_manner *manner, const struct stat *found,
	const struct complaint *complaint)
{
	const int fds[2] = { file->fd, file->sync_fd };
	unsigned flags =
		(manner->readonly ? 0u : FILE_LOCK_WRITES) | (manner->alone ? (unsigned)FILE_LOCK_ALONE : 0u);
	char who[256] = "";
	int error = file_lock_take(&file->lock, fds, found, flags, !manner->folder, file->path, who,
		complaint->size > 0 ? sizeof(who) : 0);

	return error ? complain(complaint, error, "%s: %s", file->path, who) : 0;
}

static void take_facts(struct file *file, const struct file_manner *manner, const struct file_facts *facts)
{
	file->is_device = facts->is_device;
	file->direct = manner->direct;
	file->tells = !manner->folder;
	file->sector = facts->sector;
	file->memory_grid = facts->direct_memory;
	file->size_opened = facts->size;
	file->space_grid = facts->space_grid;
	file->tail_start = facts->size & (facts->direct_grid - 1)
				   ? facts->size & ~(uint64_t)(facts->direct_grid - 1)
				   : UINT64_MAX;
	atomic_init(&file->lacks[SPACE_PUNCH], facts->cannot_zero_fast);
	inline_gate_init(&file->gate, !facts->is_device && !manner->direct && !manner->readonly);
	file->disk.facts = (struct disk_facts){
		.size = facts->size,
		.block_size_min = facts->direct_grid,
		.block_size_preferred = facts->preferred_block,
		.data_max = BLOCK_DATA_MAX,
		.readonly = manner->readonly,
		.volatile_cache = !manner->readonly,
		.can_flush = true,
		.can_fua = true,
		.can_trim = true,
		.can_zero = true,
		.can_fast_zero = true,
		.can_cache = true,
		.can_status = !facts->is_device,
		.can_multi_conn = true,
		.rotational = facts->rotational,
	};
}

int disk_file_open(
	const char *path, const struct file_manner *manner, struct disk **out, char *why, size_t why_size)
{
	const struct complaint complaint = { .why = why, .size = why_size };
	struct file *file = calloc(1, sizeof(*file));
	char *own_path = strdup(path);
	struct file_facts facts;
	struct stat found;
	int error;

	if (!file || !own_path) {
		free(file);
		free(own_path);
		return complain(&complaint, -ENOMEM, "%s: out of memory", path);
	}
	file->disk.ops = &file_ops;
	file->fd = file->sync_fd = -1;
	file->path = own_path;
	witness_init(&file->witness);
	error = open_data(file, manner, &found, &facts, &complaint);
	if (!error) {
		take_facts(file, manner, &facts);
		file->disk.facts.identity = identity_of(file->fd, &found);
		error = open_sync(file, manner, &found, &complaint);
	}
	if (!error)
		error = open_witness(file, manner, &found, &complaint);
	if (!error && !manner->looks)
		error = lock_file(file, manner, &found, &complaint);
	if (error) {
		file_close(file);
		return error;
	}
	flush_init(&file->flush, file->sync_fd, file->path);
	seeker_init(&file->seeker, file->fd, &file->disk.facts.size);
	*out = &file->disk;
	return 0;
}

struct file_grids disk_file_grids(const struct disk *disk)
{
	const struct file *file = container_of(disk, const struct file, disk);

	return (struct file_grids){ .memory = file->memory_grid, .space = file->space_grid };
}

int disk_file_fd(const struct disk *disk)
{
	return container_of(disk, const struct file, disk)->fd;
}

int disk_file_sync(struct disk *disk)
{
	return flush_now(&file_of(disk)->flush);
}
