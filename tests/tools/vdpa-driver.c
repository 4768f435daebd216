/* tests/tools/vdpa-driver.c -- the driver of a virtio-blk device on the kernel's vDPA bus, in user space: vdpa-driver
 * /dev/vhost-vdpa-0
 *
 * Its memory comes and goes while the device works, and at the end it asks where the ring is: of a VDUSE device that is
 * UPDATE_IOTLB and GET_VQ_STATE, for which the kernel's own driver has no use.
 *
 * Exit status: 0: all went as it should; 1: not, and why on stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RING = 16, BLOCK = 4096, ANSWER_MS = 20000, UNTOLD = 0xff };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };

/* Two regions, as the device sees them. Ring and requests are in the first; the second is for data alone. */
#define IOVA   0x100000ull
#define REGION (1ull << 20)
enum { AT_RING = 0, AT_HEADER = 0x8000, AT_STATUS = AT_HEADER + 512, AT_BLOCK = 0x10000, AT_OTHER = REGION };

static int device, kick, call;
static uint8_t *bytes; /* of both */
static struct vring ring;
static uint16_t asked;

static void fail(const char *what)
{
	fprintf(stderr, "vdpa-driver: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void expect(const char *what, bool right)
{
	errno = 0;
	if (!right)
		fail(what);
	printf("vdpa-driver: %s\n", what);
	fflush(stdout);
}

static void control(const char *what, unsigned long request, void *argument)
{
	if (ioctl(device, request, argument) < 0)
		fail(what);
}

static void set_status(uint8_t status)
{
	control("VHOST_VDPA_SET_STATUS", VHOST_VDPA_SET_STATUS, &status);
}

static void make_memory(void)
{
	int file = memfd_create("driver", MFD_CLOEXEC);

	if (file < 0 || ftruncate(file, 2 * REGION) < 0)
		fail("memory");
	bytes = mmap(NULL, 2 * REGION, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (bytes == MAP_FAILED)
		fail("memory");
	vring_init(&ring, RING, bytes + AT_RING, BLOCK);
}

static void negotiate(void)
{
	uint64_t features, wanted = 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_ACCESS_PLATFORM,
			   backend = 1ull << VHOST_BACKEND_F_IOTLB_MSG_V2;

	control("VHOST_SET_OWNER", VHOST_SET_OWNER, NULL);
	control("VHOST_SET_BACKEND_FEATURES", VHOST_SET_BACKEND_FEATURES, &backend);
	set_status(ACKNOWLEDGE | DRIVER);
	control("VHOST_GET_FEATURES", VHOST_GET_FEATURES, &features);
	expect("the device has the features", (features & wanted) == wanted);
	control("VHOST_SET_FEATURES", VHOST_SET_FEATURES, &wanted);
	set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
}

/* @type: VHOST_IOTLB_UPDATE or VHOST_IOTLB_INVALIDATE; @region: 0 or 1. */
static void map(uint8_t type, unsigned region)
{
	struct vhost_msg_v2 message = {
		.type = VHOST_IOTLB_MSG_V2,
		.iotlb = { .iova = IOVA + region * REGION,
			.size = REGION,
			.uaddr = (uintptr_t)(bytes + region * REGION),
			.perm = VHOST_ACCESS_RW,
			.type = type },
	};

	if (write(device, &message, sizeof(message)) != (ssize_t)sizeof(message))
		fail("a change of the memory");
}

static uint64_t iova_of(const void *part)
{
	return IOVA + (uint64_t)((const uint8_t *)part - bytes);
}

static void describe_ring(void)
{
	struct vhost_vring_state size = { .num = RING }, base = { 0 }, enable = { .num = 1 };
	struct vhost_vring_addr addr = {
		.desc_user_addr = iova_of(ring.desc),
		.avail_user_addr = iova_of(ring.avail),
		.used_user_addr = iova_of(ring.used),
	};
	struct vhost_vring_file file = { .fd = kick };

	control("VHOST_SET_VRING_NUM", VHOST_SET_VRING_NUM, &size);
	control("VHOST_SET_VRING_BASE", VHOST_SET_VRING_BASE, &base);
	control("VHOST_SET_VRING_ADDR", VHOST_SET_VRING_ADDR, &addr);
	control("VHOST_SET_VRING_KICK", VHOST_SET_VRING_KICK, &file);
	file.fd = call;
	control("VHOST_SET_VRING_CALL", VHOST_SET_VRING_CALL, &file);
	control("VHOST_VDPA_SET_VRING_ENABLE", VHOST_VDPA_SET_VRING_ENABLE, &enable);
	set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

static bool is_answered(void)
{
	return __atomic_load_n(&ring.used->idx, __ATOMIC_ACQUIRE) == asked;
}

/* Returns the status of a request of one block. */
static uint8_t ask(uint32_t type, uint64_t sector, uint64_t at)
{
	const struct virtio_blk_outhdr header = { .type = type, .sector = sector };
	const uint16_t direction = type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0;
	struct pollfd answer = { call, POLLIN, 0 };
	uint64_t count;

	memcpy(bytes + AT_HEADER, &header, sizeof(header));
	bytes[AT_STATUS] = UNTOLD;
	ring.desc[0] = (struct vring_desc){ IOVA + AT_HEADER, sizeof(header), VRING_DESC_F_NEXT, 1 };
	ring.desc[1] = (struct vring_desc){ IOVA + at, BLOCK, VRING_DESC_F_NEXT | direction, 2 };
	ring.desc[2] = (struct vring_desc){ IOVA + AT_STATUS, 1, VRING_DESC_F_WRITE, 0 };
	ring.avail->ring[asked % RING] = 0;
	__atomic_store_n(&ring.avail->idx, (uint16_t)(asked + 1), __ATOMIC_SEQ_CST);
	asked++;
	if (write(kick, &(uint64_t){ 1 }, 8) != 8)
		fail("a kick");
	while (!is_answered()) {
		errno = ETIMEDOUT;
		if (poll(&answer, 1, ANSWER_MS) != 1 || read(call, &count, sizeof(count)) < 0)
			fail("a request's answer");
	}
	return bytes[AT_STATUS];
}

static bool is_filled(uint64_t at, int byte)
{
	for (unsigned i = 0; i < BLOCK; i++)
		if (bytes[at + i] != byte)
			return false;
	return true;
}

static void work(void)
{
	memset(bytes + AT_BLOCK, 0x5a, BLOCK);
	expect("a write", ask(VIRTIO_BLK_T_OUT, 8, AT_BLOCK) == VIRTIO_BLK_S_OK);
	expect("memory that is not there yet", ask(VIRTIO_BLK_T_IN, 8, AT_OTHER) == VIRTIO_BLK_S_IOERR);
	map(VHOST_IOTLB_UPDATE, 1);
	expect("memory that has come", ask(VIRTIO_BLK_T_IN, 8, AT_OTHER) == VIRTIO_BLK_S_OK);
	expect("its bytes", is_filled(AT_OTHER, 0x5a));
	map(VHOST_IOTLB_INVALIDATE, 1);
	memset(bytes + AT_OTHER, 0, BLOCK);
	expect("memory that is gone", ask(VIRTIO_BLK_T_IN, 8, AT_OTHER) == VIRTIO_BLK_S_IOERR);
	expect("nothing of it is touched", is_filled(AT_OTHER, 0));
	map(VHOST_IOTLB_UPDATE, 1);
	expect("memory that has come again", ask(VIRTIO_BLK_T_IN, 8, AT_OTHER) == VIRTIO_BLK_S_OK);
	expect("its bytes once more", is_filled(AT_OTHER, 0x5a));
}

int main(int argc, char **argv)
{
	struct vhost_vring_state base = { 0 };

	if (argc != 2) {
		fprintf(stderr, "usage: vdpa-driver /dev/vhost-vdpa-N\n");
		return 1;
	}
	device = open(argv[1], O_RDWR | O_CLOEXEC);
	if (device < 0)
		fail(argv[1]);
	kick = eventfd(0, EFD_CLOEXEC);
	call = eventfd(0, EFD_CLOEXEC);
	make_memory();
	negotiate();
	map(VHOST_IOTLB_UPDATE, 0);
	describe_ring();
	work();
	control("VHOST_GET_VRING_BASE", VHOST_GET_VRING_BASE, &base);
	expect("the ring is where it was left", base.num == asked);
	set_status(0);
	return 0;
}
