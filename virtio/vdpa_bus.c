/* virtio/vdpa_bus.c -- one generic netlink request, sent by a child. */
#include "virtio/vdpa_bus.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <libmnl/libmnl.h>
#include <limits.h>
#include <linux/genetlink.h>
#include <linux/vdpa.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUEST_SIZE 1024u /* a name of up to 255 bytes, and headers */
/* What the child has open. */
enum { CHILD_SOCKET, CHILD_TOLD, CHILD_FDS };

#define ANSWER_SIZE 8192u /* it may repeat the request */

/* -- what is sent ------------------------------------------------------------------------------------------------- */

static struct nlmsghdr *request_begin(void *buffer, uint16_t family, uint8_t command, uint8_t version)
{
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct genlmsghdr *generic;

	request->nlmsg_type = family;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	generic = mnl_nlmsg_put_extra_header(request, sizeof(*generic));
	generic->cmd = command;
	generic->version = version;
	return request;
}

static int on_family_attribute(const struct nlattr *attribute, void *family)
{
	if (mnl_attr_get_type(attribute) == CTRL_ATTR_FAMILY_ID &&
		mnl_attr_validate(attribute, MNL_TYPE_U16) >= 0)
		*(uint16_t *)family = mnl_attr_get_u16(attribute);
	return MNL_CB_OK;
}

static int on_family(const struct nlmsghdr *answer, void *family)
{
	return mnl_attr_parse(answer, sizeof(struct genlmsghdr), on_family_attribute, family);
}

/* The number of the kernel's "vdpa" family, or -errno; it is there where the vdpa module is. */
static int family_find(struct mnl_socket *socket)
{
	char buffer[ANSWER_SIZE];
	struct nlmsghdr *request = request_begin(buffer, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
	uint16_t family = 0;
	int more = 1;

	mnl_attr_put_strz(request, CTRL_ATTR_FAMILY_NAME, VDPA_GENL_NAME);
	if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		return -errno;
	while (more > 0) {
		ssize_t got = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));

		if (got < 0)
			return -errno;
		more = mnl_cb_run(buffer, (size_t)got, 0, 0, on_family, &family);
	}
	return more < 0 ? -errno : family;
}

static struct nlmsghdr *change_request(
	void *buffer, uint16_t family, enum vdpa_bus_change change, const char *name)
{
	uint8_t command = change == VDPA_BUS_ADD ? VDPA_CMD_DEV_NEW : VDPA_CMD_DEV_DEL;
	struct nlmsghdr *request = request_begin(buffer, family, command, VDPA_GENL_VERSION);

	mnl_attr_put_strz(request, VDPA_ATTR_DEV_NAME, name);
	if (change == VDPA_BUS_ADD)
		mnl_attr_put_strz(request, VDPA_ATTR_MGMTDEV_DEV_NAME, "vduse");
	return request;
}

/* -- the child ---------------------------------------------------------------------------------------------------- */

/* As long as the disk is open like that, nobody mounts it: so it stays open until the process is gone. */
static int claim(const char *disk)
{
	return open(disk, O_RDONLY | O_EXCL | O_CLOEXEC) < 0 && errno == EBUSY ? EBUSY : 0;
}

static int ask_kernel(int socket, const struct nlmsghdr *request)
{
	char buffer[ANSWER_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	const struct nlmsghdr *answer = (const void *)buffer;
	ssize_t got;

	if (send(socket, request, request->nlmsg_len, 0) < 0)
		return errno;
	got = recv(socket, buffer, sizeof(buffer), 0);
	if (got < 0)
		return errno;
	if (!mnl_nlmsg_ok(answer, (int)got) || answer->nlmsg_type != NLMSG_ERROR)
		return EPROTO;
	return -((const struct nlmsgerr *)mnl_nlmsg_get_payload(answer))->error;
}

/* Only system calls: other threads may have held any lock when we were forked. */
static _Noreturn void child_run(int socket, const struct nlmsghdr *request, const char *disk, int told)
{
	int error;

	/* A signal to the whole process group is for our parent. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	/* The device above all: once our parent is gone, its successor has to be able to open it. */
	socket = fcntl(socket, F_DUPFD, CHILD_FDS);
	told = fcntl(told, F_DUPFD, CHILD_FDS);
	if (dup2(socket, CHILD_SOCKET) < 0 || dup2(told, CHILD_TOLD) < 0)
		_exit(EXIT_FAILURE);
	close_range(CHILD_FDS, UINT_MAX, 0);
	error = *disk ? claim(disk) : 0;
	if (!error)
		error = ask_kernel(CHILD_SOCKET, request);
	_exit(write(CHILD_TOLD, &error, sizeof(error)) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* -- ours --------------------------------------------------------------------------------------------------------- */

/* Whether @path is a block device's, or that of a partition of it. */
static bool is_of_disk(const char *path, const char *disk)
{
	size_t length = strlen(disk);

	return !strncmp(path, disk, length) && strspn(path + length, "0123456789") == strlen(path + length);
}

/* Whether a process that we may look into has the disk open; most of those claim() does not see. */
static bool is_open(const char *disk)
{
	bool found = false;
	glob_t files;

	if (glob("/proc/[0-9]*/fd/*", GLOB_NOSORT, NULL, &files))
		return false;
	for (size_t i = 0; i < files.gl_pathc && !found; i++) {
		char path[PATH_MAX];
		ssize_t length = readlink(files.gl_pathv[i], path, sizeof(path) - 1);

		path[length > 0 ? length : 0] = 0;
		found = is_of_disk(path, disk);
	}
	globfree(&files);
	return found;
}

static int child_begin(struct mnl_socket *socket, const struct nlmsghdr *request, const char *disk)
{
	int told[2], error = 0;
	pid_t pid;

	if (pipe2(told, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		child_run(mnl_socket_get_fd(socket), request, disk, told[1]);
	if (pid < 0)
		error = -errno;
	close(told[1]);
	if (!error)
		return told[0];
	close(told[0]);
	return error;
}

int vdpa_bus_begin(enum vdpa_bus_change change, const char *name)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
	char buffer[REQUEST_SIZE], disk[PATH_MAX] = "";
	int task;

	if (!socket)
		return -errno;
	if (change == VDPA_BUS_REMOVE && !vdpa_bus_disk(name, disk, sizeof(disk)) && is_open(disk)) {
		mnl_socket_close(socket);
		return -EBUSY;
	}
	task = mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : family_find(socket);
	if (task >= 0)
		task = child_begin(socket, change_request(buffer, (uint16_t)task, change, name), disk);
	mnl_socket_close(socket);
	return task;
}

int vdpa_bus_end(int task)
{
	int error;
	bool told = read(task, &error, sizeof(error)) == (ssize_t)sizeof(error);

	close(task);
	return told ? -error : -EINTR;
}

int vdpa_bus_disk(const char *name, char *out, size_t size)
{
	char pattern[PATH_MAX];
	glob_t found;
	int error = -ENOENT;

	snprintf(pattern, sizeof(pattern), "/sys/bus/vdpa/devices/%s/virtio*/block/*", name);
	if (glob(pattern, 0, NULL, &found))
		return error;
	if (found.gl_pathc > 0) {
		snprintf(out, size, "/dev/%s", strrchr(found.gl_pathv[0], '/') + 1);
		error = 0;
	}
	globfree(&found);
	return error;
}
