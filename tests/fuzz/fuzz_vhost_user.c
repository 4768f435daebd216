/* tests/fuzz/fuzz_vhost_user.c -- a VMM that sends what it likes, over a real socket, with real descriptors, and a guest
 * that kicks.  After each input the back-end has to be ready for the next VMM, with no descriptor left over. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "conf/log.h"
#include "tests/unit/split_driver.h"
#include "virtio/vhost_user.h"
#include "virtio/vhost_user_wire.h"

enum { QUEUES = 2, RING = 16, HELD_MAX = 2 * RING };

/* What the disk does with requests, until the guest's next act says something else. */
enum { DISK_HOLDS = 1, DISK_GIVES_BACK = 2, DISK_LOSES = 4, DISK_RELEASES = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct loop main_loop, queue_loop[QUEUES];
static struct vhost_user *vhost;
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static socklen_t address_length;
static struct driver driver;
static int kick, call, sock;

static unsigned mood, held_count;
static struct block_req *held[HELD_MAX];

static int submit(struct disk *disk, struct block_req *req)
{
	(void)disk;
	if (!(mood & DISK_HOLDS))
		return 0;
	if (held_count == HELD_MAX)
		abort();
	held[held_count++] = req;
	return DISK_PENDING;
}

static bool recall(struct disk *disk, struct block_req *req)
{
	unsigned i = 0;

	(void)disk;
	while (i < held_count && held[i] != req)
		i++;
	if (i == held_count)
		abort();
	if (!(mood & DISK_GIVES_BACK))
		return false;
	held[i] = held[--held_count];
	return true;
}

static void release(void)
{
	while (held_count > 0) {
		struct block_req *req = held[--held_count];

		req->done(req, mood & DISK_LOSES ? -ECANCELED : 0);
	}
}

static unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void begin(void)
{
	static const struct disk_ops ops = { .submit = submit, .recall = recall };
	static struct disk disk = {
		.ops = &ops,
		.facts = { .size = 1 << 20,
			.block_size_min = 1,
			.block_size_preferred = 4096,
			.data_max = 1 << 20,
			.can_flush = true,
			.can_fua = true,
			.volatile_cache = true },
	};
	const struct virtio_blk_config config = { .facts = disk.facts, .num_queues = QUEUES };
	struct queue_thread threads[QUEUES];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	log_open("fuzz", (enum log_level) - 1);
	address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
				     (size_t)snprintf(address.sun_path + 1, 64, "vnbd-fuzz-%d", getpid()));
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, address_length) || listen(fd, 4))
		abort();
	loop_init(&main_loop, false);
	for (unsigned i = 0; i < QUEUES; i++) {
		loop_init(&queue_loop[i], false);
		threads[i] = (struct queue_thread){ &queue_loop[i], &disk };
	}
	if (vhost_user_new(&main_loop, fd, &config, threads, QUEUES, &vhost))
		abort();
	driver_init(&driver, RING);
	kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

static void pump(void)
{
	for (unsigned i = 0; i < 6; i++) {
		ev_run(main_loop.ev, EVRUN_NOWAIT);
		for (unsigned q = 0; q < QUEUES; q++)
			ev_run(queue_loop[q].ev, EVRUN_NOWAIT);
	}
}

static bool send_message(
	uint32_t request, uint32_t flags, const void *payload, uint32_t size, const int *fds, unsigned count)
{
	char control[CMSG_SPACE(sizeof(int) * 16)] = { 0 };
	struct vhost_user_header header = { request, flags, size };
	struct iovec iov[] = { { &header, sizeof(header) }, { (void *)(uintptr_t)payload, size } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };
	char reply[512];
	bool sent;

	if (count) {
		struct cmsghdr *c;

		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
	}
	sent = sendmsg(sock, &message, MSG_NOSIGNAL) > 0;
	pump();
	while (recv(sock, reply, sizeof(reply), MSG_DONTWAIT) > 0)
		;
	return sent;
}

static void set_u64(uint32_t request, uint64_t value, int fd)
{
	send_message(request, VHOST_USER_VERSION, &value, sizeof(value), &fd, fd >= 0);
}

/* With what the last input left in it, or with what came along instead. */
static void set_record(const uint8_t *data, size_t size)
{
	const struct vhost_user_inflight record = { .mmap_size = 4096,
		.mmap_offset = DRIVER_REGION + 0x80000,
		.num_queues = QUEUES,
		.queue_size = RING };

	if (size > 4096)
		size = 4096;
	if (data[0] & 1)
		memcpy(driver.bytes + record.mmap_offset, data, size);
	send_message(VHOST_USER_SET_INFLIGHT_FD, VHOST_USER_VERSION, &record, sizeof(record), &driver.fd, 1);
}

/* As of a VMM that migrates its guest: the log is in the guest's memory, where the next input may change it. */
static void set_log(void)
{
	const struct vhost_user_log log = { .size = 128, .mmap_offset = DRIVER_REGION + 0x90000 };

	send_message(VHOST_USER_SET_LOG_BASE, VHOST_USER_VERSION, &log, sizeof(log), &driver.fd, 1);
}

/* As a VMM does it that wants to work. */
static void boot(uint64_t features)
{
	struct guest_region regions[2];
	struct vhost_user_mem_table table = { .region_count = 2 };

	driver_regions(regions);
	for (unsigned i = 0; i < 2; i++)
		table.regions[i] = (struct vhost_user_region){ regions[i].guest_address, regions[i].size,
			regions[i].user_address, regions[i].mmap_offset };
	set_u64(VHOST_USER_SET_PROTOCOL_FEATURES,
		VHOST_USER_PROTOCOL_F_REPLY_ACK | VHOST_USER_PROTOCOL_F_GET_VRING_BASE_INFLIGHT, -1);
	set_u64(VHOST_USER_SET_FEATURES, features, -1);
	send_message(
		VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION, &table, 72, (int[]){ driver.fd, driver.fd }, 2);
	for (unsigned q = 0; q < QUEUES; q++) {
		struct vhost_user_vring_addr addr = { .index = q,
			.desc = DRIVER_USER + AT_DESC,
			.used = DRIVER_USER + AT_USED,
			.avail = DRIVER_USER + AT_AVAIL,
			.flags = features & VHOST_F_LOG_ALL ? VHOST_USER_VRING_F_LOG : 0,
			.log = DRIVER_GUEST + AT_USED };

		set_u64(VHOST_USER_SET_VRING_NUM, (uint64_t)RING << 32 | q, -1);
		send_message(VHOST_USER_SET_VRING_ADDR, VHOST_USER_VERSION, &addr, sizeof(addr), NULL, 0);
		set_u64(VHOST_USER_SET_VRING_CALL, q, call);
		set_u64(VHOST_USER_SET_VRING_KICK, q, kick);
		set_u64(VHOST_USER_SET_VRING_ENABLE, 1ull << 32 | q, -1);
	}
}

/* What the guest does between two messages: a chain of three, and a kick. */
static void guest_acts(const uint8_t *bytes)
{
	for (unsigned i = 0; i < 3; i++)
		driver_describe(&driver.desc[i], AT_DATA + i * 4096u,
			i == 0	 ? 16
			: i == 1 ? bytes[0] * 16u
				 : 1,
			(i < 2 ? DESC_NEXT : 0) | (i == 2 || (i == 1 && bytes[1] & 1) ? DESC_WRITE : 0),
			i + 1);
	driver.bytes[AT_DATA] = bytes[2] & 15;
	mood = bytes[2] >> 4;
	if (mood & DISK_RELEASES)
		release();
	driver_offer(&driver, bytes[3] % (RING + 8) < RING ? 0 : bytes[3] & 31);
	if (write(kick, &(uint64_t){ 1 }, 8) < 0)
		return;
	pump();
}

/* One message from the input: request, shape, then a payload whose numbers are often what makes sense. */
static size_t act(const uint8_t *data, size_t size)
{
	static const uint16_t sizes[] = { 0, 8, 40, 72, 13, 20, 264, 24 };
	uint8_t payload[300] = { 0 };
	uint8_t request, shape;
	uint32_t length;
	size_t used;
	int fds[16];

	if (size < 6)
		return size;
	request = data[0];
	shape = data[1];
	if (request >= 0xc0) {
		guest_acts(data + 2);
		return 6;
	}
	length = shape & 0x80 ? data[2] : sizes[shape & 7];
	used = size - 3 < length ? size - 3 : length;
	memcpy(payload, data + 3, used);
	for (unsigned i = 0; i + 8 <= sizeof(payload) && i < used; i += 8) {
		uint64_t word;

		memcpy(&word, payload + i, 8);
		if (payload[i + 7] == 0xd0)
			word = DRIVER_USER + (word & 0x1fffff);
		if (payload[i + 7] == 0xd1)
			word = DRIVER_GUEST + (word & 0x1fffff);
		memcpy(payload + i, &word, 8);
	}
	for (unsigned i = 0; i < 16; i++)
		fds[i] = i & 1 ? driver.fd : i & 2 ? call : kick;
	send_message(request % 42, VHOST_USER_VERSION | (shape & 0x40 ? VHOST_USER_NEED_REPLY : 0), payload,
		length, fds, shape >> 3 & 7);
	return 3 + used;
}

/* What was sent while the back-end waited for the disk is read now. */
static void end(unsigned descriptors)
{
	mood = 0;
	release();
	close(sock);
	pump();
	for (unsigned tries = 0; open_descriptors() != descriptors; tries++) {
		if (tries == 1000)
			abort();
		pump();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned before;
	size_t at = 1;

	if (!vhost)
		begin();
	if (size < 1)
		return 0;
	before = open_descriptors();
	memset(driver.avail, 0, 64);
	memset(driver.used, 0, 256);
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(sock, (struct sockaddr *)&address, address_length))
		abort();
	if (data[0] & 8)
		set_record(data, size);
	if (data[0] & 1)
		boot((data[0] & 16 ? VIRTIO_F_RING_PACKED : 0) |
			(data[0] & 2 ? VHOST_USER_F_PROTOCOL_FEATURES : 0) |
			(data[0] & 4 ? VIRTIO_F_RING_EVENT_IDX : 0) | (data[0] & 32 ? VHOST_F_LOG_ALL : 0) |
			(data[0] & 64 ? VIRTIO_F_IN_ORDER : 0) | VIRTIO_F_VERSION_1);
	if (data[0] & 32)
		set_log();
	while (at < size)
		at += act(data + at, size - at);
	end(before);
	return 0;
}
