/* cache/file_lock.h -- keeps two programs from writing one file: the locks that QEMU takes on its images.
 *
 * They are advisory locks of the open file description (fcntl(2), F_OFD_SETLK) on bytes that say what its owner does and
 * what it bears beside it: byte 100 reads, byte 101 writes; byte 201 means that nobody else may write. All are read
 * locks, which do not exclude each other: one first takes its own and then looks whether somebody holds the opposite.
 * So we and QEMU, or two of us, exclude each other wherever one of us writes; readers share. Programs that take no such
 * locks (nbdkit, nbd-server, dd) are not seen.
 *
 * Disks of this process do not exclude each other, unless one of them asks for it: who names a file twice in one command
 * means it. A warning in the log tells where more than one of them writes.
 *
 * The locks live as long as the descriptions. A ring that a killed process leaves behind holds them until its last
 * operation has ended: no write of a dead server lands after its successor got the lock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

/* How long file_lock_take() waits for a lock that belongs to no process that can be seen: operations that a killed
 * server left in the kernel, which end when their disk answers. */
#define FILE_LOCK_WAIT_MS 5000

enum file_lock_flag {
	FILE_LOCK_WRITES = 1 << 0, /* the disk writes the file */
	FILE_LOCK_ALONE = 1 << 1,  /* it bears no other writer, not in this process either */
};

struct file_lock {
	struct file_lock *next; /* the registry's */
	dev_t device;
	ino_t inode;
	bool is_device, writes, alone;
	int fds[2]; /* borrowed: their owner drops us before it closes them; -1: none */
};

/* file_lock_take() - lock the file behind @fds; @flags: enum file_lock_flag.
 * @fds: two descriptions of it, open for reading at least. @found: the file's fstat(2). @waits: whether it may take up
 * to FILE_LOCK_WAIT_MS.
 *
 * Returns 0; where the filesystem knows no locks, too, with a warning in the log that names @path (without @waits,
 * the first time only). Or -EBUSY, with who
 * holds what in @who, as far as /proc tells: "qemu-nbd (pid 123) writes it"; with a @who_size
 * of 0 it spares the search, which takes milliseconds. Any thread may call. */
int file_lock_take(struct file_lock *lock, const int fds[2], const struct stat *found, unsigned flags,
	bool waits, const char *path, char *who, size_t who_size);

/* Does nothing to a lock that was never taken: zeroes. */
void file_lock_drop(struct file_lock *lock);
