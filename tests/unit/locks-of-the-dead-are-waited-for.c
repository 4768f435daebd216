/* A lock that a killed server's last operations still hold is waited for; one that a process holds is not.
 * If this fails, a server that is started at once after a kill does not start, or starts while old writes land. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <cmocka.h>

#include "cache/file_lock.h"
#include "tests/unit/disks.h"

/* The byte that says "somebody writes". */
static int writers_description(const char *path)
{
	struct flock writes = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1 };
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &writes), 0);
	return fd;
}

/* A description on its way through a socket lives, and no process has it. */
static void send_away(int socket, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};

	control.header = (struct cmsghdr){
		.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS
	};
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	assert_int_equal(sendmsg(socket, &message, 0), 1);
	close(fd);
}

struct way {
	int sockets[2];
	uint64_t ended_ns;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void *end_way(void *argument)
{
	struct way *way = argument;

	nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);
	way->ended_ns = now_ns();
	close(way->sockets[0]);
	close(way->sockets[1]);
	return NULL;
}

static int take(struct file_lock *lock, const char *path, bool waits, int fds[2], char *who, size_t who_size)
{
	struct stat found;

	fds[0] = open(path, O_RDWR | O_CLOEXEC);
	fds[1] = -1;
	assert_int_equal(fstat(fds[0], &found), 0);
	return file_lock_take(lock, fds, &found, true, waits, path, who, who_size);
}

static void the_dead_are_waited_for(void **state)
{
	struct file_lock lock;
	struct way way;
	pthread_t thread;
	char path[256], who[256] = "";
	int fds[2];

	(void)state;
	temporary_file(path, sizeof(path), 4096);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, way.sockets), 0);
	send_away(way.sockets[0], writers_description(path));
	assert_int_equal(take(&lock, path, false, fds, who, sizeof(who)), -EBUSY);
	assert_string_equal(who, "in use: a process that cannot be seen from here writes it");
	close(fds[0]);
	assert_int_equal(pthread_create(&thread, NULL, end_way, &way), 0);
	assert_int_equal(take(&lock, path, true, fds, who, sizeof(who)), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(now_ns() > way.ended_ns);
	file_lock_drop(&lock);
	close(fds[0]);
}

static void the_living_are_not(void **state)
{
	struct file_lock lock;
	char path[256], who[256] = "", expect[64];
	uint64_t before = now_ns();
	int holder, fds[2];

	(void)state;
	temporary_file(path, sizeof(path), 4096);
	holder = writers_description(path);
	assert_int_equal(take(&lock, path, true, fds, who, sizeof(who)), -EBUSY);
	assert_true(now_ns() - before < FILE_LOCK_WAIT_MS * 1000000ull);
	snprintf(expect, sizeof(expect), "(pid %d) writes it", getpid());
	assert_non_null(strstr(who, expect));
	close(holder);
	close(fds[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_dead_are_waited_for),
		cmocka_unit_test(the_living_are_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
