/* cache/overlay_file.c -- pread, pwrite and fsync on the way up and down. */
#include "cache/overlay_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache/disk_file.h"
#include "conf/log.h"

/* Blocks of a base that are looked at: where filesystems and partition tables keep who they are, and all over it. */
#define SAMPLES 32

/* Returns 0, -EIO: the file ends before, or -errno. */
static int read_at(int fd, void *bytes, size_t length, uint64_t at)
{
	ssize_t got = pread(fd, bytes, length, (off_t)at);

	if (got < 0)
		return -errno;
	return (size_t)got == length ? 0 : -EIO;
}

static int write_at(int fd, const void *bytes, size_t length, uint64_t at)
{
	ssize_t wrote = pwrite(fd, bytes, length, (off_t)at);

	if (wrote < 0)
		return -errno;
	return (size_t)wrote == length ? 0 : -EIO;
}

/* The base. */

static int digest_of(int fd, uint64_t size, uint64_t *sum)
{
	uint64_t blocks = (size + OVERLAY_BLOCK - 1) / OVERLAY_BLOCK;
	uint8_t block[OVERLAY_BLOCK];

	*sum = OVERLAY_SUM_START;
	for (uint64_t i = 0; blocks > 0 && i < SAMPLES; i++) {
		uint64_t at = (blocks - 1) / (SAMPLES - 1) * i * OVERLAY_BLOCK;
		size_t length;
		int error;

		if (i == SAMPLES - 1)
			at = (blocks - 1) * OVERLAY_BLOCK;
		length = size - at < OVERLAY_BLOCK ? (size_t)(size - at) : OVERLAY_BLOCK;
		error = read_at(fd, block, length, at);
		if (error)
			return error;
		*sum = overlay_sum(*sum, block, length);
	}
	return 0;
}

int overlay_base_of(int fd, uint64_t size, struct overlay_base *out)
{
	struct stat found;

	if (fstat(fd, &found) < 0)
		return -errno;
	*out = (struct overlay_base){ .size = size };
	if (S_ISREG(found.st_mode)) {
		out->written_s = (uint64_t)found.st_mtim.tv_sec;
		out->written_ns = (uint32_t)found.st_mtim.tv_nsec;
	}
	return digest_of(fd, size, &out->digest);
}

/* A new file. */

static int sync_folder(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), error;

	if (fd < 0)
		return -errno;
	error = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return error;
}

static int write_new(int fd, const struct overlay_base *base)
{
	struct overlay_layout layout;
	uint8_t header[OVERLAY_BLOCK];
	int error = overlay_layout_of(base->size, &layout);

	if (error)
		return error;
	overlay_header_write(base, header);
	error = write_at(fd, header, sizeof(header), 0);
	/* Later there may be no room, and what completes without it in the map would be lost. */
	if (!error)
		error = -posix_fallocate(fd, 0, (off_t)layout.data_at);
	if (!error && ftruncate(fd, (off_t)layout.file_size) < 0)
		error = -errno;
	if (!error && fsync(fd) < 0)
		error = -errno;
	return error;
}

/* A file that has no name yet; or, where the filesystem cannot do that, one that has it already. */
static int create(const char *folder, const char *path, bool *named)
{
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);

	*named = fd < 0;
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
	return fd < 0 ? -errno : fd;
}

static int give_name(int fd, const char *path)
{
	char self[32];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int make_in(const char *folder, const char *path, const struct overlay_base *base)
{
	bool named;
	int fd = create(folder, path, &named), error;

	if (fd < 0)
		return fd;
	error = write_new(fd, base);
	if (!error && !named)
		error = give_name(fd, path);
	if (error && named)
		unlink(path);
	close(fd);
	return error ? error : sync_folder(folder);
}

int overlay_file_make(const char *path, const struct overlay_base *base, char *why, size_t why_size)
{
	char *copy;
	int error;

	if (access(path, F_OK) == 0)
		return 0;
	error = -errno;
	if (error == -ENOENT) {
		copy = strdup(path);
		error = copy ? make_in(dirname(copy), path, base) : -ENOMEM;
		free(copy);
	}
	if (error)
		snprintf(why, why_size, "%s: cannot be made: %s", path, strerror(-error));
	else
		log_info("%s: a new overlay", path);
	return error;
}

int overlay_file_temporary(uint64_t size, char *why, size_t why_size)
{
	const char *folder = getenv("TMPDIR");
	bool named;
	char path[4096];
	int fd, error = 0;

	if (!folder)
		folder = "/var/tmp";
	snprintf(path, sizeof(path), "%s/vnbd-overlay-%ld", folder, (long)getpid());
	fd = create(folder, path, &named);
	if (fd >= 0 && named)
		unlink(path);
	if (fd >= 0 && ftruncate(fd, (off_t)size) < 0) {
		error = -errno;
		close(fd);
		fd = error;
	}
	if (fd < 0)
		snprintf(why, why_size, "a temporary overlay in %s: %s", folder, strerror(-fd));
	return fd;
}

/* An existing one. */

/* When @base was written last, for people. */
static const char *time_text(const struct overlay_base *base, char *out, size_t out_size)
{
	time_t seconds = (time_t)base->written_s;
	struct tm tm;
	char day[64];

	if (!gmtime_r(&seconds, &tm) || strftime(day, sizeof(day), "%Y-%m-%d %H:%M:%S", &tm) == 0)
		return "?";
	snprintf(out, out_size, "%s.%09u UTC", day, base->written_ns);
	return out;
}

/* Returns 0 or -EINVAL. */
static int compare(const struct overlay_base *wanted, const char *path, const struct overlay_base *base,
	const char *base_path, char *why, size_t why_size)
{
	char then[96], now[96];

	if (wanted->size != base->size)
		snprintf(why, why_size, "%s: belongs to a base of %llu bytes; %s has %llu", path,
			(unsigned long long)wanted->size, base_path, (unsigned long long)base->size);
	else if (wanted->digest != base->digest)
		snprintf(why, why_size,
			"%s: belongs to another base than %s, or what that was: its data differs", path,
			base_path);
	else if (wanted->written_s != base->written_s || wanted->written_ns != base->written_ns)
		snprintf(why, why_size, "%s: belongs to a base that was last written at %s; %s was at %s",
			path, time_text(wanted, then, sizeof(then)), base_path,
			time_text(base, now, sizeof(now)));
	else
		return 0;
	return -EINVAL;
}

static int recognize(int fd, struct overlay_base *wanted, const char **what)
{
	uint8_t header[OVERLAY_BLOCK];
	struct overlay_layout layout;
	struct stat found;
	int error;

	*what = "neither an overlay nor missing";
	if (fstat(fd, &found) < 0 || !S_ISREG(found.st_mode) || found.st_size < OVERLAY_BLOCK)
		return -EINVAL;
	error = read_at(fd, header, sizeof(header), 0);
	if (!error)
		error = overlay_header_read(header, wanted);
	if (error == -EPROTONOSUPPORT)
		*what = "an overlay of another version";
	if (error == -EBADMSG)
		*what = "an overlay with a damaged header";
	if (error)
		return error;
	*what = "an overlay that was cut";
	if (overlay_layout_of(wanted->size, &layout) || (uint64_t)found.st_size < layout.file_size)
		return -EINVAL;
	return 0;
}

int overlay_file_check(int fd, const char *path, const struct overlay_base *base, const char *base_path,
	char *why, size_t why_size)
{
	struct overlay_base wanted = { 0 };
	const char *what;
	int error = recognize(fd, &wanted, &what);

	if (!error)
		return compare(&wanted, path, base, base_path, why, why_size);
	if (error == -EINVAL || error == -EPROTONOSUPPORT || error == -EBADMSG) {
		snprintf(why, why_size, "%s: is %s", path, what);
		return -EINVAL;
	}
	snprintf(why, why_size, "%s: read: %s", path, strerror(-error));
	return error;
}

/* Its maps. */

static void read_boot(char *boot, size_t size)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, boot, size - 1);

	boot[got > 0 ? got : 0] = '\0';
	boot[strcspn(boot, "\n")] = '\0';
	if (fd >= 0)
		close(fd);
}

/* Returns 0 or -errno. */
static int lifetime_of(int fd, struct overlay_lifetime *out)
{
	struct statx found;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &found) < 0)
		return -errno;
	*out = (struct overlay_lifetime){
		.device = (uint64_t)found.stx_dev_major << 32 | found.stx_dev_minor,
		.inode = found.stx_ino,
	};
	if (found.stx_mask & STATX_BTIME)
		out->birth_ns = (uint64_t)found.stx_btime.tv_sec * 1000000000u + found.stx_btime.tv_nsec;
	read_boot(out->boot, sizeof(out->boot));
	return 0;
}

static int load_page(
	int fd, const struct overlay_layout *layout, struct overlay_map *map, uint64_t page, bool counts)
{
	uint64_t durable[OVERLAY_BLOCK / 8], now[OVERLAY_BLOCK / 8];
	uint64_t at = page * OVERLAY_BLOCK;
	int error = read_at(fd, durable, sizeof(durable), layout->durable_at + at);

	if (!error)
		error = read_at(fd, now, sizeof(now), layout->volatile_at + at);
	if (error)
		return error;
	overlay_map_load(map, page, durable, true);
	if (counts)
		overlay_map_load(map, page, now, false);
	else if (memcmp(durable, now, sizeof(now)) != 0)
		error = write_at(fd, durable, sizeof(durable), layout->volatile_at + at);
	return error;
}

int overlay_file_load(int fd, const struct overlay_layout *layout, struct overlay_map *map)
{
	uint8_t then[OVERLAY_BLOCK], bytes[OVERLAY_BLOCK];
	struct overlay_lifetime now;
	bool counts;
	int error = read_at(fd, then, sizeof(then), OVERLAY_LIFETIME_AT);

	if (!error)
		error = lifetime_of(fd, &now);
	if (error)
		return error;
	counts = overlay_lifetime_counts(then, &now);
	for (uint64_t page = 0; page < map->pages && !error; page++)
		error = load_page(fd, layout, map, page, counts);
	overlay_lifetime_write(&now, bytes);
	if (error || memcmp(bytes, then, sizeof(bytes)) == 0)
		return error;
	/* Behind the map: it must not count before it is right. */
	return write_at(fd, bytes, sizeof(bytes), OVERLAY_LIFETIME_AT);
}

static int write_durable(int fd, const struct overlay_layout *layout, struct overlay_map *map)
{
	int error = 0;

	for (uint64_t first = 0, end; !error && overlay_map_next(map, &first, &end, 1); first = end)
		error = write_at(fd, map->durable + first * (OVERLAY_BLOCK / 8), OVERLAY_BLOCK,
			layout->durable_at + first * OVERLAY_BLOCK);
	return error;
}

void overlay_file_settle(struct disk *file, const struct overlay_layout *layout, struct overlay_map *map)
{
	int error;

	if (!overlay_map_begin(map))
		return;
	error = disk_file_sync(file);
	if (!error)
		error = write_durable(disk_file_fd(file), layout, map);
	if (!error)
		error = disk_file_sync(file);
	overlay_map_end(map, !error);
	if (error)
		log_error("an overlay's last changes are not on stable storage: %s", strerror(-error));
}
