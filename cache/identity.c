/* cache/identity.c -- inode and birth, or device and its sequence number; boots; numbers that are drawn. */
#include "cache/identity.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

uint64_t identity_join(uint64_t first, uint64_t second)
{
	uint64_t mixed = first * 0x9e3779b97f4a7c15u + second;

	mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
	mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
	mixed ^= mixed >> 31;
	return mixed ? mixed : 1;
}

/* In nanoseconds; 0: nobody knows. */
static uint64_t birth_of(int fd)
{
	struct statx found;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &found) || !(found.stx_mask & STATX_BTIME))
		return 0;
	return (uint64_t)found.stx_btime.tv_sec * 1000000000u + found.stx_btime.tv_nsec;
}

/* "A disk sequence number is incremented whenever a device's media may have changed", from Linux 5.15 on. */
static uint64_t sequence_of(int fd)
{
	uint64_t sequence = 0;

	ioctl(fd, BLKGETDISKSEQ, &sequence);
	return sequence;
}

uint64_t identity_of(int fd, const struct stat *stat)
{
	if (S_ISBLK(stat->st_mode))
		return identity_join(identity_join(1, stat->st_rdev), sequence_of(fd));
	return identity_join(identity_join(stat->st_dev, stat->st_ino), birth_of(fd));
}

uint64_t identity_join_bytes(uint64_t joined, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		joined = identity_join(joined, (uint8_t)bytes[i]);
	return joined;
}

uint64_t identity_of_boot(void)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[64];
	ssize_t length = fd >= 0 ? read(fd, text, sizeof(text)) : -1;

	if (fd >= 0)
		close(fd);
	return length > 0 ? identity_join_bytes(0, text, (size_t)length) : 0;
}

uint64_t identity_draw(void)
{
	struct timespec now;
	uint64_t drawn;

	if (getrandom(&drawn, sizeof(drawn), GRND_NONBLOCK) == sizeof(drawn) && drawn)
		return drawn;
	clock_gettime(CLOCK_REALTIME, &now);
	return identity_join((uint64_t)getpid(), (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}
