/* tests/unit/two_back_ends.h -- one back-end after the other for the same guest, and the record of what is in flight that its
 * VMM hands from one to the next. */
#pragma once

#include "vmm.h"

/* The first is frozen in the middle of its work: nobody runs its loops. */
static struct vmm first, second;
static int record_fd;
static struct vhost_user_inflight record;

static inline void get_record(struct vmm *vmm)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct {
		struct vhost_user_header header;
		struct vhost_user_inflight inflight;
	} __attribute__((packed)) reply;
	struct iovec iov = { &reply, sizeof(reply) };
	struct msghdr header = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};

	record = (struct vhost_user_inflight){ .num_queues = VMM_QUEUES, .queue_size = VMM_RING };
	vmm_send(vmm, VHOST_USER_GET_INFLIGHT_FD, &record, 20, NULL, 0);
	pump(vmm);
	/* As long as it was asked for: VMMs differ in that. */
	assert_int_equal(recvmsg(vmm->socket, &header, 0), sizeof(reply.header) + 20);
	assert_int_equal(reply.header.size, 20);
	memcpy(&record, &reply.inflight, 20);
	assert_int_equal(record.num_queues, VMM_QUEUES);
	assert_int_equal(record.queue_size, VMM_RING);
	assert_non_null(CMSG_FIRSTHDR(&header));
	memcpy(&record_fd, CMSG_DATA(CMSG_FIRSTHDR(&header)), sizeof(record_fd));
	assert_int_equal(lseek(record_fd, 0, SEEK_END), record.mmap_size);
	/* Nobody can take it away below us. */
	assert_int_equal(ftruncate(record_fd, 0), -1);
}

static inline int set_record(struct vmm *vmm)
{
	return vmm_set(vmm, VHOST_USER_SET_INFLIGHT_FD, &record, sizeof(record), &record_fd, 1);
}

/* A VMM whose back-end died knows no better base than the used index. */
static inline void boot_with(struct vmm *vmm, bool again, uint64_t features)
{
	vmm_connect(vmm);
	vmm_negotiate(vmm, VMM_FEATURES | features);
	if (!again)
		get_record(vmm);
	assert_int_equal(set_record(vmm), 0);
	assert_int_equal(vmm_set_memory(vmm), 0);
	for (unsigned q = 0; q < VMM_QUEUES; q++) {
		vmm_describe_ring(vmm, q, *driver_used_idx(&vmm->driver[q]));
		assert_int_equal(vmm_set_state(vmm, VHOST_USER_SET_VRING_ENABLE, q, 1), 0);
	}
}

static inline void boot(struct vmm *vmm, bool again)
{
	boot_with(vmm, again, 0);
}

static inline void begin_second(void)
{
	vmm_begin(&second);
	for (unsigned q = 0; q < VMM_QUEUES; q++) {
		driver_fini(&second.driver[q]);
		driver_share(&second.driver[q], &first.driver[q]);
	}
}

static inline void end_both(void)
{
	close(record_fd);
	disk_release(&second.disk);
	vmm_end(&second);
	disk_release(&first.disk);
	vmm_end(&first);
}
