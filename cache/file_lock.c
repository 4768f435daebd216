/* cache/file_lock.c -- QEMU's lock bytes, and a registry of what this process has locked.
 *
 * L1  A description of a disk that writes holds the bytes 100, 101 and 201, one that reads 100 and 201, from before the
 *     look at others until it is dropped.
 * L2  Where the registry has a lock that writes, nobody else writes the file or bears no writer: what we lock beside it
 *     needs no look.
 * L3  Locks of our own disks look like anybody's to fcntl(2). The registry tells them apart: for the look of our first
 *     writer our own readers let go of 201, which the writer holds meanwhile.
 */
#include "cache/file_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cache/lock_holder.h"
#include "conf/log.h"

/* QEMU, block/file-posix.c: a permission's byte is 100 + its bit; the byte of a permission not shared, 200 + its bit.
 * Bit 0 is to read consistently, bit 1 to write. */
enum lock_byte { BYTE_READS = 100, BYTE_WRITES = 101, BYTE_ALONE_WRITES = 201 };

/* Lists, by the hash of the file: 10,000 of them in one took a second of a start-up. */
#define LISTS 4096

static struct {
	pthread_mutex_t lock;
	struct file_lock *lists[LISTS]; /* shared: under lock */
} registry = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int lock_byte(int fd, enum lock_byte byte, short type)
{
	struct flock range = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	return fd >= 0 && fcntl(fd, F_OFD_SETLK, &range) < 0 ? -errno : 0;
}

static bool is_locked_by_others(int fd, enum lock_byte byte)
{
	struct flock range = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	return fcntl(fd, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
}

static int lock_bytes(const struct file_lock *lock, int fd)
{
	int error = lock_byte(fd, BYTE_READS, F_RDLCK);

	if (!error && lock->writes)
		error = lock_byte(fd, BYTE_WRITES, F_RDLCK);
	return error ? error : lock_byte(fd, BYTE_ALONE_WRITES, F_RDLCK);
}

static void unlock_bytes(int fd)
{
	lock_byte(fd, BYTE_READS, F_UNLCK);
	lock_byte(fd, BYTE_WRITES, F_UNLCK);
	lock_byte(fd, BYTE_ALONE_WRITES, F_UNLCK);
}

static bool is_of_same_file(const struct file_lock *a, const struct file_lock *b)
{
	return a->is_device == b->is_device && a->device == b->device && a->inode == b->inode;
}

/* Where the registry has all locks of @lock's file. */
static struct file_lock **list_of(const struct file_lock *lock)
{
	uint64_t hash = ((uint64_t)lock->inode ^ (uint64_t)lock->device) * UINT64_C(0x9e3779b97f4a7c15);

	return &registry.lists[hash >> 32 & (LISTS - 1)];
}

static bool has_own_writer(const struct file_lock *lock)
{
	for (const struct file_lock *own = *list_of(lock); own; own = own->next)
		if (own->writes && is_of_same_file(own, lock))
			return true;
	return false;
}

/* Whether @lock and one of our own do not bear each other. */
static bool has_own_opponent(const struct file_lock *lock)
{
	for (const struct file_lock *own = *list_of(lock); own; own = own->next)
		if (is_of_same_file(own, lock) &&
			((lock->alone && own->writes) || (own->alone && lock->writes)))
			return true;
	return false;
}

static void set_own_readers(const struct file_lock *lock, short type)
{
	for (const struct file_lock *own = *list_of(lock); own; own = own->next)
		for (int i = 0; i < 2 && is_of_same_file(own, lock); i++)
			lock_byte(own->fds[i], BYTE_ALONE_WRITES, type);
}

/* Returns 0, or the byte that somebody else holds and that forbids what @lock wants. */
static int look_at_others(const struct file_lock *lock)
{
	bool held = false;

	if (has_own_writer(lock)) /* L2 */
		return 0;
	if (is_locked_by_others(lock->fds[0], BYTE_WRITES))
		return BYTE_WRITES;
	if (lock->writes) {
		set_own_readers(lock, F_UNLCK);
		held = is_locked_by_others(lock->fds[0], BYTE_ALONE_WRITES);
		set_own_readers(lock, F_RDLCK);
	}
	return held ? BYTE_ALONE_WRITES : 0;
}

static void explain(const struct stat *found, int byte, char *who, size_t who_size, bool *dying)
{
	char name[64];
	pid_t holder = lock_holder_find(found, (unsigned long long)byte, name, sizeof(name));
	const char *what = byte == BYTE_WRITES ? "writes it" : "reads it and bears no other writer";

	*dying = holder == 0;
	if (holder)
		snprintf(who, who_size, "in use: %s (pid %d) %s", name, holder, what);
	else
		snprintf(who, who_size, "in use: a process that cannot be seen from here %s", what);
}

/* One try, under the registry's lock. @byte: as look_at_others(). Returns 0, -EBUSY or another -errno of fcntl(2). */
static int try_take(struct file_lock *lock, int *byte)
{
	int error = lock_bytes(lock, lock->fds[0]);

	*byte = 0;
	if (!error) {
		*byte = look_at_others(lock);
		error = *byte ? -EBUSY : lock_bytes(lock, lock->fds[1]);
	}
	if (error) {
		unlock_bytes(lock->fds[0]);
		unlock_bytes(lock->fds[1]);
	}
	/* Where the filesystem knows no locks, our own disks know of each other nevertheless. */
	if (error != -EBUSY) {
		lock->next = *list_of(lock);
		*list_of(lock) = lock;
	}
	return error;
}

/* As file_lock_take(), without a wait. @dying: after -EBUSY, whether the holder is no process that can be seen.
 * @is_double: whether another disk of ours writes the file, as this one will. */
static int take(struct file_lock *lock, const struct stat *found, char *who, size_t who_size, bool *dying,
	bool *is_double)
{
	int error, byte = 0;
	bool is_opposed;

	*dying = false;
	pthread_mutex_lock(&registry.lock);
	*is_double = lock->writes && has_own_writer(lock);
	is_opposed = has_own_opponent(lock);
	error = is_opposed ? -EBUSY : try_take(lock, &byte);
	pthread_mutex_unlock(&registry.lock);
	if (is_opposed)
		snprintf(who, who_size, "in use: by another export of this server");
	if (byte && who_size > 0)
		explain(found, byte, who, who_size, dying);
	return error;
}

static void warn_of_double(const char *path, bool always)
{
	static atomic_flag told = ATOMIC_FLAG_INIT;

	if (!atomic_flag_test_and_set(&told) || always)
		log_warning(
			"%s: more than one export of this server writes it: they do not know of each other's "
			"unaligned writes under O_DIRECT",
			path);
}

static void warn_of_no_lock(const char *path, int error, bool always)
{
	static atomic_flag told = ATOMIC_FLAG_INIT;

	if (!atomic_flag_test_and_set(&told) || always)
		log_warning("%s: cannot be locked: %s; nothing keeps another program from writing it", path,
			strerror(-error));
}

int file_lock_take(struct file_lock *lock, const int fds[2], const struct stat *found, unsigned flags,
	bool waits, const char *path, char *who, size_t who_size)
{
	const struct timespec pause = { .tv_nsec = 50000000 };
	bool dying, is_double;
	int error;

	*lock = (struct file_lock){
		.is_device = S_ISBLK(found->st_mode),
		.device = S_ISBLK(found->st_mode) ? found->st_rdev : found->st_dev,
		.inode = S_ISBLK(found->st_mode) ? 0 : found->st_ino,
		.writes = flags & FILE_LOCK_WRITES,
		.alone = flags & FILE_LOCK_ALONE,
		.fds = { fds[0], fds[1] },
	};
	error = take(lock, found, who, who_size, &dying, &is_double);
	for (int ms = 0; error == -EBUSY && waits && dying && ms < FILE_LOCK_WAIT_MS; ms += 50) {
		if (ms == 0)
			log_info("%s: waits for what a killed process left in flight", path);
		nanosleep(&pause, NULL);
		error = take(lock, found, who, who_size, &dying, &is_double);
	}
	if (error == 0 && is_double)
		warn_of_double(path, waits);
	if (error == 0 || error == -EBUSY)
		return error;
	warn_of_no_lock(path, error, waits);
	return 0;
}

void file_lock_drop(struct file_lock *lock)
{
	pthread_mutex_lock(&registry.lock);
	for (struct file_lock **link = list_of(lock); *link; link = &(*link)->next)
		if (*link == lock) {
			*link = lock->next;
			unlock_bytes(lock->fds[0]);
			unlock_bytes(lock->fds[1]);
			break;
		}
	pthread_mutex_unlock(&registry.lock);
}
