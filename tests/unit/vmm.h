/* tests/unit/vmm.h -- a VMM, its guest's driver, the device between them and the disk below, all on the test's thread:
 * nothing happens but in pump().  Or, with vmm_run_threads(), the loops on threads of their own. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "conf/container.h"
#include "split_driver.h"
#include "virtio/vhost_user.h"
#include "virtio/vhost_user_wire.h"

enum { VMM_QUEUES = 2, VMM_RING = 256, HELD_MAX = 64, DISK_BYTES = 1 << 20, DISK_DATA_MAX = DISK_BYTES / 4 };

/* A disk of memory that keeps what it is asked for while it holds. */
struct test_disk {
	struct disk disk;
	bool hold;
	bool gives_back; /* what it holds, if it is recalled */
	struct block_req *held[HELD_MAX];
	unsigned held_count;
	uint8_t bytes[DISK_BYTES];
};

struct vmm {
	struct loop main, queue_loop[VMM_QUEUES];
	bool threaded;
	pthread_t threads[VMM_QUEUES + 1];
	struct test_disk disk;
	struct vhost_user *vhost;
	struct sockaddr_un address;
	bool stopped;

	int socket;
	uint64_t protocol; /* features that it negotiates beyond the usual ones */
	bool ack;	   /* REPLY_ACK is on: every request asks for it */
	struct driver
		driver[VMM_QUEUES]; /* each ring has a guest's memory of its own, one behind the other */
	int kick[VMM_QUEUES], call[VMM_QUEUES], err[VMM_QUEUES];
};

static inline void disk_carry_out(struct test_disk *disk, const struct block_req *req)
{
	uint8_t *at = disk->bytes + req->offset;

	for (unsigned i = 0; i < req->iov_count; i++) {
		void *there = req->op == BLOCK_READ ? req->iov[i].iov_base : at;
		void *here = req->op == BLOCK_READ ? at : req->iov[i].iov_base;

		memcpy(there, here, req->iov[i].iov_len);
		at += req->iov[i].iov_len;
	}
}

static inline int test_disk_submit(struct disk *disk, struct block_req *req)
{
	struct test_disk *test = container_of(disk, struct test_disk, disk);

	if (test->hold) {
		assert_true(test->held_count < HELD_MAX);
		test->held[test->held_count++] = req;
		return DISK_PENDING;
	}
	disk_carry_out(test, req);
	return 0;
}

/* Takes held request number @i out. */
static inline struct block_req *disk_take_held(struct test_disk *disk, unsigned i)
{
	struct block_req *req = disk->held[i];

	disk->held_count--;
	memmove(&disk->held[i], &disk->held[i + 1], (disk->held_count - i) * sizeof(disk->held[0]));
	return req;
}

static inline bool test_disk_recall(struct disk *disk, struct block_req *req)
{
	struct test_disk *test = container_of(disk, struct test_disk, disk);
	unsigned i = 0;

	while (i < test->held_count && test->held[i] != req)
		i++;
	assert_true(i < test->held_count);
	if (test->gives_back)
		disk_take_held(test, i);
	return test->gives_back;
}

static inline void disk_release(struct test_disk *disk)
{
	unsigned count = disk->held_count;

	disk->hold = false;
	disk->held_count = 0;
	/* Last come, first served: completions keep no order. */
	while (count-- > 0) {
		disk_carry_out(disk, disk->held[count]);
		disk->held[count]->done(disk->held[count], 0);
	}
}

static inline void pump(struct vmm *vmm)
{
	struct pollfd reply = { vmm->socket, POLLIN, 0 };

	if (vmm->threaded) {
		poll(&reply, 1, 10000);
		return;
	}
	/* The longest way: a message, an order to a queue, its turn, its answer, the reply. */
	for (unsigned i = 0; i < 8; i++) {
		ev_run(vmm->main.ev, EVRUN_NOWAIT);
		for (unsigned q = 0; q < VMM_QUEUES; q++)
			ev_run(vmm->queue_loop[q].ev, EVRUN_NOWAIT);
	}
}

/* @disks: one a queue; NULL: all on vmm->disk. */
static inline void vmm_begin_on(struct vmm *vmm, struct disk **disks)
{
	static const struct disk_ops ops = { .submit = test_disk_submit, .recall = test_disk_recall };
	static unsigned number;
	struct virtio_blk_config config = {
		.facts = { .size = DISK_BYTES,
			.block_size_min = 1,
			.block_size_preferred = 4096,
			.data_max = DISK_DATA_MAX,
			.volatile_cache = true,
			.can_flush = true,
			.can_fua = true,
			.can_trim = true,
			.can_zero = true },
		.num_queues = VMM_QUEUES,
	};
	struct queue_thread threads[VMM_QUEUES];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length;

	memset(vmm, 0, sizeof(*vmm));
	vmm->disk.disk = (struct disk){ .ops = &ops, .facts = config.facts };
	vmm->address.sun_family = AF_UNIX;
	/* An abstract name: nothing to clean up. */
	length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
			     (size_t)snprintf(
				     vmm->address.sun_path + 1, 64, "vnbd-%d-%u", getpid(), number++));
	assert_int_equal(bind(fd, (struct sockaddr *)&vmm->address, length), 0);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(loop_init(&vmm->main, false), 0);
	for (unsigned q = 0; q < VMM_QUEUES; q++) {
		assert_int_equal(loop_init(&vmm->queue_loop[q], false), 0);
		threads[q] = (struct queue_thread){ &vmm->queue_loop[q], disks ? disks[q] : &vmm->disk.disk };
		driver_init(&vmm->driver[q], VMM_RING);
		vmm->kick[q] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		vmm->call[q] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		vmm->err[q] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
	assert_int_equal(vhost_user_new(&vmm->main, fd, &config, threads, VMM_QUEUES, &vmm->vhost), 0);
	vmm->socket = -1;
}

static inline void vmm_begin(struct vmm *vmm)
{
	vmm_begin_on(vmm, NULL);
}

static inline void *vmm_thread(void *arg)
{
	loop_run(arg);
	return NULL;
}

static inline void vmm_run_threads(struct vmm *vmm)
{
	vmm->threaded = true;
	for (unsigned q = 0; q < VMM_QUEUES; q++)
		pthread_create(&vmm->threads[q], NULL, vmm_thread, &vmm->queue_loop[q]);
	pthread_create(&vmm->threads[VMM_QUEUES], NULL, vmm_thread, &vmm->main);
}

static inline void vmm_connect(struct vmm *vmm)
{
	socklen_t length =
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(vmm->address.sun_path + 1));

	vmm->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(vmm->socket, (struct sockaddr *)&vmm->address, length), 0);
	vmm->ack = false;
}

static inline void vmm_disconnect(struct vmm *vmm)
{
	close(vmm->socket);
	vmm->socket = -1;
}

static inline void vmm_on_stopped(void *arg)
{
	((struct vmm *)arg)->stopped = true;
}

struct stop_letter {
	struct mail mail;
	struct vmm *vmm;
	struct loop *loop;
};

static inline void stop_loop(struct mail *mail)
{
	loop_stop(container_of(mail, struct stop_letter, mail)->loop);
}

static inline void stop_main(void *arg)
{
	vmm_on_stopped(arg);
	loop_stop(&((struct vmm *)arg)->main);
}

static inline void stop_vhost(struct mail *mail)
{
	struct vmm *vmm = container_of(mail, struct stop_letter, mail)->vmm;

	vhost_user_stop(vmm->vhost, stop_main, vmm);
}

static inline void vmm_stop_threads(struct vmm *vmm)
{
	struct stop_letter letters[VMM_QUEUES + 1];

	for (unsigned i = 0; i <= VMM_QUEUES; i++)
		letters[i] = (struct stop_letter){ .vmm = vmm };
	letters[VMM_QUEUES].mail.read = stop_vhost;
	loop_post(&vmm->main, &letters[VMM_QUEUES].mail);
	pthread_join(vmm->threads[VMM_QUEUES], NULL);
	for (unsigned q = 0; q < VMM_QUEUES; q++) {
		letters[q].loop = &vmm->queue_loop[q];
		letters[q].mail.read = stop_loop;
		loop_post(&vmm->queue_loop[q], &letters[q].mail);
		pthread_join(vmm->threads[q], NULL);
	}
}

static inline void vmm_end(struct vmm *vmm)
{
	if (vmm->threaded) {
		vmm_stop_threads(vmm);
	} else {
		vhost_user_stop(vmm->vhost, vmm_on_stopped, vmm);
		pump(vmm);
	}
	assert_true(vmm->stopped);
	if (vmm->socket >= 0)
		close(vmm->socket);
	for (unsigned q = 0; q < VMM_QUEUES; q++) {
		loop_fini(&vmm->queue_loop[q]);
		driver_fini(&vmm->driver[q]);
		close(vmm->kick[q]);
		close(vmm->call[q]);
		close(vmm->err[q]);
	}
	loop_fini(&vmm->main);
}

/* Sends bytes as they are, with descriptors. */
static inline void vmm_send_raw(
	struct vmm *vmm, const void *bytes, size_t size, const int *fds, unsigned count)
{
	char control[CMSG_SPACE(sizeof(int) * 32)] = { 0 };
	struct iovec iov = { (void *)(uintptr_t)bytes, size };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (count) {
		struct cmsghdr *c;

		header.msg_control = control;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		c = CMSG_FIRSTHDR(&header);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
	}
	assert_int_equal(sendmsg(vmm->socket, &header, MSG_NOSIGNAL), (ssize_t)size);
}

static inline void vmm_send(
	struct vmm *vmm, uint32_t request, const void *payload, uint32_t size, const int *fds, unsigned count)
{
	struct {
		struct vhost_user_header header;
		uint8_t payload[4096];
	} __attribute__((packed)) message = {
		.header = { request, VHOST_USER_VERSION | (vmm->ack ? VHOST_USER_NEED_REPLY : 0), size },
	};

	if (size)
		memcpy(message.payload, payload, size);
	vmm_send_raw(vmm, &message, sizeof(message.header) + size, fds, count);
}

enum { NO_REPLY = -1, CLOSED = -2 };

/* Returns the size of the reply's payload, NO_REPLY or CLOSED. */
static inline int vmm_receive(struct vmm *vmm, uint32_t request, void *payload, size_t room)
{
	struct vhost_user_header header;
	ssize_t got;

	pump(vmm);
	got = recv(vmm->socket, &header, sizeof(header), 0);
	if (got < 0 && errno == EAGAIN)
		return NO_REPLY;
	if (got <= 0)
		return CLOSED;
	assert_int_equal(got, sizeof(header));
	assert_int_equal(header.request, request);
	assert_int_equal(header.flags, VHOST_USER_VERSION | VHOST_USER_REPLY);
	assert_true(header.size <= room);
	if (header.size)
		assert_int_equal(recv(vmm->socket, payload, header.size, 0), header.size);
	return (int)header.size;
}

/* A request that is acknowledged, or goes without. Returns 0: fine, 1: refused, CLOSED. */
static inline int vmm_set(
	struct vmm *vmm, uint32_t request, const void *payload, uint32_t size, const int *fds, unsigned count)
{
	uint64_t ack = 0;
	int got;

	vmm_send(vmm, request, payload, size, fds, count);
	if (vmm->threaded && !vmm->ack)
		return 0;
	got = vmm_receive(vmm, request, &ack, sizeof(ack));
	if (got == CLOSED)
		return CLOSED;
	assert_int_equal(got, vmm->ack ? (int)sizeof(ack) : NO_REPLY);
	return ack != 0;
}

static inline uint64_t vmm_get(struct vmm *vmm, uint32_t request)
{
	uint64_t value = 0;

	vmm_send(vmm, request, NULL, 0, NULL, 0);
	assert_int_equal(vmm_receive(vmm, request, &value, sizeof(value)), sizeof(value));
	return value;
}

static inline int vmm_set_u64(struct vmm *vmm, uint32_t request, uint64_t value)
{
	return vmm_set(vmm, request, &value, sizeof(value), NULL, 0);
}

static inline int vmm_set_state(struct vmm *vmm, uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_user_vring_state state = { index, num };

	return vmm_set(vmm, request, &state, sizeof(state), NULL, 0);
}

static inline int vmm_set_fd(struct vmm *vmm, uint32_t request, uint64_t index, int fd)
{
	return vmm_set(vmm, request, &index, sizeof(index), &fd, 1);
}

/* Ring @q's memory: its own two regions, beside those of the other ring. */
static inline struct vhost_user_region vmm_region(unsigned q, unsigned part)
{
	struct guest_region regions[2];

	driver_regions(regions);
	return (struct vhost_user_region){
		.guest_address = regions[part].guest_address + q * (1ull << 30),
		.size = regions[part].size,
		.user_address = regions[part].user_address + q * (1ull << 30),
		.mmap_offset = regions[part].mmap_offset,
	};
}

static inline int vmm_set_memory(struct vmm *vmm)
{
	struct vhost_user_mem_table table = { .region_count = 2 * VMM_QUEUES };
	int fds[2 * VMM_QUEUES];

	for (unsigned i = 0; i < 2 * VMM_QUEUES; i++) {
		table.regions[i] = vmm_region(i / 2, i % 2);
		fds[i] = vmm->driver[i / 2].fd;
	}
	return vmm_set(vmm, VHOST_USER_SET_MEM_TABLE, &table,
		(uint32_t)(8 + sizeof(table.regions[0]) * table.region_count), fds, table.region_count);
}

static inline void vmm_negotiate(struct vmm *vmm, uint64_t features)
{
	uint64_t offered = vmm_get(vmm, VHOST_USER_GET_FEATURES);

	assert_true(offered & VHOST_USER_F_PROTOCOL_FEATURES);
	vmm_set(vmm, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0);
	if (features & VHOST_USER_F_PROTOCOL_FEATURES) {
		assert_true(vmm_get(vmm, VHOST_USER_GET_PROTOCOL_FEATURES) & VHOST_USER_PROTOCOL_F_REPLY_ACK);
		vmm_set_u64(vmm, VHOST_USER_SET_PROTOCOL_FEATURES,
			VHOST_USER_PROTOCOL_F_REPLY_ACK | VHOST_USER_PROTOCOL_F_CONFIG |
				VHOST_USER_PROTOCOL_F_MQ | VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS |
				vmm->protocol);
		vmm->ack = true;
	}
	assert_int_equal(vmm_set_u64(vmm, VHOST_USER_SET_FEATURES, features), 0);
}

/* All but the kick. */
static inline void vmm_describe_ring(struct vmm *vmm, unsigned q, uint32_t base)
{
	struct vhost_user_vring_addr addr = {
		.index = q,
		.desc = DRIVER_USER + q * (1ull << 30) + AT_DESC,
		.used = DRIVER_USER + q * (1ull << 30) + AT_USED,
		.avail = DRIVER_USER + q * (1ull << 30) + AT_AVAIL,
	};

	assert_int_equal(vmm_set_state(vmm, VHOST_USER_SET_VRING_NUM, q, VMM_RING), 0);
	assert_int_equal(vmm_set_state(vmm, VHOST_USER_SET_VRING_BASE, q, base), 0);
	assert_int_equal(vmm_set(vmm, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), 0);
	assert_int_equal(vmm_set_fd(vmm, VHOST_USER_SET_VRING_CALL, q, vmm->call[q]), 0);
	assert_int_equal(vmm_set_fd(vmm, VHOST_USER_SET_VRING_ERR, q, vmm->err[q]), 0);
	assert_int_equal(vmm_set_fd(vmm, VHOST_USER_SET_VRING_KICK, q, vmm->kick[q]), 0);
}

#define VMM_FEATURES                                                                         \
	(VHOST_USER_F_PROTOCOL_FEATURES | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_INDIRECT_DESC | \
		VIRTIO_F_RING_EVENT_IDX | VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_CONFIG_WCE)

/* Connected, negotiated, with memory and all rings described and enabled: they start at their first kicks. */
static inline void vmm_boot(struct vmm *vmm)
{
	vmm_connect(vmm);
	vmm_negotiate(vmm, VMM_FEATURES);
	assert_int_equal(vmm_set_memory(vmm), 0);
	for (unsigned q = 0; q < VMM_QUEUES; q++) {
		vmm_describe_ring(vmm, q, driver_avail_idx(&vmm->driver[q]));
		assert_int_equal(vmm_set_state(vmm, VHOST_USER_SET_VRING_ENABLE, q, 1), 0);
	}
}

static inline void guest_kick(struct vmm *vmm, unsigned q)
{
	uint64_t one = 1;

	assert_int_equal(write(vmm->kick[q], &one, sizeof(one)), sizeof(one));
}

/* How often an eventfd was signalled since it was last asked. */
static inline uint64_t signals(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

/* Offers one request of a sector in descriptors 3 * slot .. 3 * slot + 2. The data are at guest_data(). */
static inline uint8_t *guest_data(struct vmm *vmm, unsigned q, unsigned slot)
{
	return vmm->driver[q].bytes + AT_DATA + slot * 1024 + 64;
}

static inline uint8_t *guest_status(struct vmm *vmm, unsigned q, unsigned slot)
{
	return vmm->driver[q].bytes + AT_DATA + slot * 1024 + 32;
}

static inline void guest_ask(struct vmm *vmm, unsigned q, unsigned slot, uint32_t type, uint64_t sector)
{
	struct driver *driver = &vmm->driver[q];
	struct driver_desc *desc = &driver->desc[3 * slot];
	struct virtio_blk_header header = { type, 0, sector };
	uint64_t at = AT_DATA + slot * 1024 + q * (1ull << 30);
	unsigned head = 3 * slot;

	memcpy(driver->bytes + AT_DATA + slot * 1024, &header, sizeof(header));
	*guest_status(vmm, q, slot) = 0xff;
	driver_describe(&desc[0], at, 16, DESC_NEXT, head + 1);
	driver_describe(
		&desc[1], at + 64, 512, DESC_NEXT | (type == VIRTIO_BLK_T_IN ? DESC_WRITE : 0), head + 2);
	driver_describe(&desc[2], at + 32, 1, DESC_WRITE, 0);
	driver_offer(driver, (uint16_t)head);
}

static inline unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}
