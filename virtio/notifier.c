/* virtio/notifier.c -- eight bytes, which are written and read. */
#include "virtio/notifier.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/log.h"

/* One behind the other: a pipe's usual 64 KiB. */
#define READS_MAX 16u

bool notifier_blocks(int fd)
{
	return fd >= 0 && !(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

static bool has_room(int fd)
{
	struct pollfd room = { .fd = fd, .events = POLLOUT };

	return poll(&room, 1, 0) == 1 && (room.revents & POLLOUT);
}

void notifier_signal(int fd, bool may_block)
{
	uint64_t one = 1;

	/* A full counter or a pipe without a reader: the VMM has been told enough, or is gone. */
	if (fd < 0 || (may_block && !has_room(fd)))
		return;
	if (write(fd, &one, sizeof(one)) < 0)
		log_debug("cannot signal descriptor %d: errno %d", fd, errno);
}

bool notifier_fills(int fd)
{
	struct stat file;

	return fstat(fd, &file) == 0 && (S_ISFIFO(file.st_mode) || S_ISSOCK(file.st_mode));
}

/* Of an eventfd it takes one read, of a pipe as many as it has room for. */
void notifier_empty(int fd)
{
	struct pollfd kicks = { .fd = fd, .events = POLLIN };
	char bytes[4096];

	for (unsigned i = 0; i < READS_MAX; i++) {
		if (poll(&kicks, 1, 0) != 1 || !(kicks.revents & POLLIN))
			return;
		if (read(fd, bytes, sizeof(bytes)) < (ssize_t)sizeof(bytes))
			return;
	}
}
