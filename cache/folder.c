/* cache/folder.c -- openat2(2), for which the C library has no function. */
#include "cache/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

int folder_file_open(const struct folder *folder, const char *name, int flags)
{
	struct open_how how = {
		.flags = (unsigned)flags | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, folder->fd, name, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int folder_file_stat(const struct folder *folder, const char *name, struct stat *out)
{
	int fd = folder_file_open(folder, name, O_PATH), error;

	if (fd < 0)
		return fd;
	error = fstat(fd, out) < 0 ? -errno : 0;
	close(fd);
	return error;
}
