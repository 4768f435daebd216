/* An overlay reads as its base until it is written, byte for byte, whatever the requests' extents; and the same after the
 * server was ended or killed.  If this fails, a guest finds another's bytes, or not what it wrote. */
#include "tests/unit/disks.h"

#include <sys/stat.h>

#include "cache/disk_overlay.h"
#include "cache/iov.h"
#include "cache/overlay_format.h"

#define BLOCK ((size_t)OVERLAY_BLOCK)
enum { SIZE = 300 * OVERLAY_BLOCK + 777, ROUNDS = 900, PIECES = 24 };

static struct uring ring;
static char base_path[256];
static uint8_t base[SIZE], expected[SIZE], buffer[SIZE];
static unsigned seed;

static unsigned draw(unsigned below)
{
	seed = seed * 1103515245u + 12345u;
	return (seed >> 8) % below;
}

static void write_file(const char *path, const void *bytes, size_t length)
{
	int fd = open(path, O_WRONLY);

	assert_int_equal(pwrite(fd, bytes, length, 0), (ssize_t)length);
	close(fd);
}

static void make_base(void)
{
	int fd;

	seed = 4711;
	for (int i = 0; i < SIZE; i++)
		expected[i] = (uint8_t)draw(256);
	memset(expected + 40 * BLOCK, 0, 40 * BLOCK);
	temporary_file(base_path, sizeof(base_path), 0);
	write_file(base_path, expected, 40 * BLOCK);
	assert_int_equal(truncate(base_path, SIZE), 0);
	fd = open(base_path, O_WRONLY);
	assert_int_equal(pwrite(fd, expected + 80 * BLOCK, SIZE - 80 * BLOCK, 80 * BLOCK), SIZE - 80 * BLOCK);
	close(fd);
	memcpy(base, expected, SIZE);
}

static struct disk *open_overlay(const char *path, const char *overlay)
{
	char why[512] = "";
	struct disk *disk = NULL;

	if (overlay_open(path, overlay, &disk, why, sizeof(why)) != 0)
		fail_msg("%s", why);
	return disk;
}

static void new_path(char *path, size_t size)
{
	temporary_file(path, size, 0);
	unlink(path);
}

/* @length bytes of buffer, in several pieces. */
static int ask_pieces(struct disk *disk, enum block_op op, unsigned flags, uint64_t offset, size_t length)
{
	struct iovec iov[PIECES];
	struct asked asked = { .req = { .op = op, .flags = flags, .offset = offset, .length = length } };
	size_t at = 0;

	asked.req.iov = iov;
	for (unsigned i = 0; at < length; i++) {
		size_t piece = i == PIECES - 1 ? length - at : 1 + draw((unsigned)(length - at));

		iov[i] = (struct iovec){ buffer + at, piece };
		asked.req.iov_count = i + 1;
		at += piece;
	}
	return ask(disk, &ring, &asked);
}

static void check_read(struct disk *disk, uint64_t offset, size_t length)
{
	memset(buffer, 0xa5, length);
	assert_int_equal(ask_pieces(disk, BLOCK_READ, 0, offset, length), 0);
	assert_memory_equal(buffer, expected + offset, length);
}

/* What a status says of bytes is true, and it ends where it may. */
static void check_status(struct disk *disk, uint64_t offset, size_t length)
{
	struct block_extent extents[5];
	struct asked asked = { .req = { .op = BLOCK_STATUS, .offset = offset, .length = length } };
	uint64_t at = offset;

	asked.req.extents.list = extents;
	asked.req.extents.max = 1 + draw(5);
	asked.req.flags = draw(4) == 0 ? BLOCK_ONE_EXTENT : 0;
	assert_int_equal(ask(disk, &ring, &asked), 0);
	assert_in_range(asked.req.extents.count, 1, asked.req.flags ? 1 : asked.req.extents.max);
	for (unsigned i = 0; i < asked.req.extents.count; i++) {
		assert_true(extents[i].length > 0 && at < offset + length);
		assert_true(i == 0 || extents[i].flags != extents[i - 1].flags);
		for (uint64_t b = at; extents[i].flags & BLOCK_EXTENT_ZERO && b < at + extents[i].length; b++)
			assert_int_equal(expected[b], 0);
		at += extents[i].length;
	}
	assert_true(at <= SIZE);
}

static void one_round(struct disk *disk)
{
	uint64_t offset = draw(SIZE);
	unsigned most = draw(3) ? 3 * OVERLAY_BLOCK : 60 * OVERLAY_BLOCK;
	size_t length = 1 + draw(SIZE - offset < most ? (unsigned)(SIZE - offset) : most);
	unsigned flags = draw(5) == 0 ? BLOCK_FUA : 0;

	switch (draw(8)) {
	case 0:
	case 1:
		memset(buffer, (int)draw(256), length);
		memcpy(expected + offset, buffer, length);
		assert_int_equal(ask_pieces(disk, BLOCK_WRITE, flags, offset, length), 0);
		break;
	case 2:
		flags |= draw(2) ? BLOCK_NO_HOLE : 0;
		assert_int_equal(ask_range(disk, &ring, BLOCK_ZERO, flags, offset, length), 0);
		memset(expected + offset, 0, length);
		break;
	case 3:
		assert_int_equal(ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0), 0);
		break;
	case 4:
		check_status(disk, offset, length);
		break;
	case 5:
		if (draw(4) == 0) {
			/* Undefined is what is there then, and nothing around it. */
			assert_int_equal(ask_range(disk, &ring, BLOCK_TRIM, flags, offset, length), 0);
			assert_int_equal(
				ask_data(disk, &ring, BLOCK_READ, 0, offset, expected + offset, length), 0);
		}
		break;
	case 6:
		assert_int_equal(ask_range(disk, &ring, BLOCK_CACHE, 0, offset, length), 0);
		break;
	default:
		check_read(disk, offset, length);
	}
}

static void copy_file(const char *from, const char *to)
{
	char command[600];

	snprintf(command, sizeof(command), "cp --sparse=always %s %s", from, to);
	assert_int_equal(system(command), 0); /* NOLINT: of our own temporary paths */
}

static void base_is_as_it_was(void)
{
	int fd = open(base_path, O_RDONLY);

	assert_int_equal(pread(fd, buffer, SIZE, 0), SIZE);
	assert_memory_equal(buffer, base, SIZE);
	close(fd);
}

static void any_requests(void **state)
{
	char path[256], copy[256];
	struct disk *disk, *other;

	(void)state;
	for (int kept = 0; kept < 2; kept++) {
		make_base();
		new_path(path, sizeof(path));
		disk = open_overlay(base_path, kept ? path : NULL);
		assert_int_equal(disk->facts.size, SIZE);
		check_read(disk, 0, SIZE);
		for (int i = 0; i < ROUNDS; i++) {
			one_round(disk);
			if (!kept || i % 300 != 299)
				continue;
			/* As it is when the server is killed now: in the page cache, and nobody has tidied up. */
			new_path(copy, sizeof(copy));
			copy_file(path, copy);
			other = open_overlay(base_path, copy);
			check_read(other, 0, SIZE);
			disk_free(other);
			unlink(copy);
			/* And ended. */
			disk_free(disk);
			disk = open_overlay(base_path, path);
			check_read(disk, 0, SIZE);
		}
		check_read(disk, 0, SIZE);
		disk_free(disk);
		base_is_as_it_was();
	}
}

static void set_lifetime(const char *path, const struct overlay_lifetime *lifetime)
{
	uint8_t bytes[OVERLAY_BLOCK];
	int fd = open(path, O_RDWR);

	overlay_lifetime_write(lifetime, bytes);
	assert_int_equal(pwrite(fd, bytes, sizeof(bytes), OVERLAY_LIFETIME_AT), OVERLAY_BLOCK);
	close(fd);
}

/* The copy belongs to a machine that has booted since. */
static void forget_boot(const char *path)
{
	set_lifetime(path, &(struct overlay_lifetime){ .boot = "another boot" });
}

/* It is in a snapshot of the device that it was written on. */
static void move_device(const char *path)
{
	struct overlay_lifetime lifetime = { .device = 7 };
	struct statx found;
	FILE *boot = fopen("/proc/sys/kernel/random/boot_id", "re");

	assert_int_equal(fscanf(boot, "%63s", lifetime.boot), 1); /* NOLINT: the kernel's */
	fclose(boot);
	assert_int_equal(statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME, &found), 0);
	lifetime.inode = found.stx_ino;
	lifetime.birth_ns = (uint64_t)found.stx_btime.tv_sec * 1000000000u + found.stx_btime.tv_nsec;
	set_lifetime(path, &lifetime);
}

static void what_counts_elsewhere(void **state)
{
	char path[256], copy[256];
	struct disk *disk, *other;

	(void)state;
	make_base();
	new_path(path, sizeof(path));
	disk = open_overlay(base_path, path);
	memset(buffer, 1, SIZE);
	memset(expected + 5000, 1, 3000);
	assert_int_equal(ask_data(disk, &ring, BLOCK_WRITE, 0, 5000, buffer, 3000), 0);
	assert_int_equal(ask_range(disk, &ring, BLOCK_FLUSH, 0, 0, 0), 0);
	assert_int_equal(ask_data(disk, &ring, BLOCK_WRITE, 0, 20 * BLOCK, buffer, 10), 0);
	for (int snapshot = 0; snapshot < 2; snapshot++) {
		new_path(copy, sizeof(copy));
		copy_file(path, copy);
		(snapshot ? move_device : forget_boot)(copy);
		/* Twice: what did not count the first time must not count then. */
		for (int i = 0; i < 2; i++) {
			other = open_overlay(base_path, copy);
			check_read(other, 0, SIZE);
			disk_free(other);
		}
	}
	/* The end of a server makes it durable. */
	disk_free(disk);
	forget_boot(path);
	memset(expected + 20 * BLOCK, 1, 10);
	disk = open_overlay(base_path, path);
	check_read(disk, 0, SIZE);
	disk_free(disk);
}

static void refused(const char *path, const char *overlay, const char *reason)
{
	char why[512] = "";
	struct disk *disk = NULL;

	assert_int_not_equal(overlay_open(path, overlay, &disk, why, sizeof(why)), 0);
	if (!strstr(why, reason))
		fail_msg("'%s' instead of '%s'", why, reason);
}

static void spoil(const char *path, off_t at)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x40;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void only_its_own_base(void **state)
{
	char path[256], other[256];
	struct stat found;
	struct disk *disk;

	(void)state;
	make_base();
	new_path(path, sizeof(path));
	disk = open_overlay(base_path, path);
	refused(base_path, path, "in use: by another export of this server");
	disk_free(disk);
	disk_free(open_overlay(base_path, path));

	temporary_file(other, sizeof(other), SIZE + 1);
	refused(other, path, "belongs to a base of");
	temporary_file(other, sizeof(other), SIZE);
	refused(other, path, "its data differs");
	copy_file(base_path, other);
	refused(other, path, "last written at");
	assert_int_equal(stat(base_path, &found), 0);
	assert_int_equal(
		utimensat(AT_FDCWD, other, (struct timespec[]){ found.st_atim, found.st_mtim }, 0), 0);
	disk_free(open_overlay(other, path));

	refused(base_path, "/nowhere/overlay", "/nowhere/overlay: cannot be made: No such file");
	refused(base_path, "/dev/null", "neither a regular file nor a block device");
	refused(base_path, base_path, "in use: by another export of this server");
	temporary_file(other, sizeof(other), 0);
	refused(base_path, other, "neither an overlay nor missing");
	temporary_file(other, sizeof(other), SIZE);
	refused(base_path, other, "neither an overlay nor missing");
	spoil(path, 8);
	refused(base_path, path, "another version");
	spoil(path, 8);
	spoil(path, 20);
	refused(base_path, path, "damaged header");
	spoil(path, 20);
	assert_int_equal(stat(path, &found), 0);
	assert_int_equal(truncate(path, found.st_size - 1), 0);
	refused(base_path, path, "that was cut");
	assert_int_equal(truncate(path, found.st_size), 0);
	disk_free(open_overlay(base_path, path));
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
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_requests),
		cmocka_unit_test(what_counts_elsewhere),
		cmocka_unit_test(only_its_own_base),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
