/* A disk that grows or shrinks says so to its VMM, and requests are held against the size of the moment; a VMM that does
 * not listen costs nothing.  If this fails, a guest does not get the space that was given to it, or one VMM that hangs
 * stops the back-end. */
#include "vmm.h"

#define CHANNEL_FEATURES                                                                             \
	(VHOST_USER_PROTOCOL_F_REPLY_ACK | VHOST_USER_PROTOCOL_F_CONFIG | VHOST_USER_PROTOCOL_F_MQ | \
		VHOST_USER_PROTOCOL_F_BACKEND_REQ)

static struct vmm vmm;

/* Gives the back-end a channel; returns the VMM's end. */
static int give_channel(void)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_PROTOCOL_FEATURES, CHANNEL_FEATURES), 0);
	assert_int_equal(vmm_set(&vmm, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &ends[1], 1), 0);
	close(ends[1]);
	return ends[0];
}

/* How many messages are in the channel; each has to be the one that there is. */
static unsigned messages(int channel)
{
	struct vhost_user_header header;
	unsigned count = 0;

	while (recv(channel, &header, sizeof(header), 0) == sizeof(header)) {
		assert_int_equal(header.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
		assert_int_equal(header.flags, VHOST_USER_VERSION);
		assert_int_equal(header.size, 0);
		count++;
	}
	return count;
}

static uint64_t capacity(void)
{
	struct vhost_user_config config = { .offset = 0, .size = 8 };
	uint64_t sectors;

	vmm_send(&vmm, VHOST_USER_GET_CONFIG, &config, VHOST_USER_CONFIG_HEADER_SIZE + 8, NULL, 0);
	assert_int_equal(vmm_receive(&vmm, VHOST_USER_GET_CONFIG, &config, sizeof(config)),
		VHOST_USER_CONFIG_HEADER_SIZE + 8);
	memcpy(&sectors, config.bytes, sizeof(sectors));
	return le64toh(sectors);
}

/* The status of a read of that sector. */
static uint8_t read_sector(uint64_t sector)
{
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, sector);
	guest_kick(&vmm, 0);
	pump(&vmm);
	return *guest_status(&vmm, 0, 0);
}

static void the_vmm_is_told_and_requests_are_held_against_it(void **state)
{
	const uint64_t all = DISK_BYTES / 512;
	int channel;

	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	channel = give_channel();
	assert_int_equal(read_sector(all - 1), VIRTIO_BLK_S_OK);
	messages(channel);
	vhost_user_resize(vmm.vhost, DISK_BYTES / 2);
	assert_int_equal(messages(channel), 1);
	assert_int_equal(capacity(), all / 2);
	assert_int_equal(read_sector(all / 2 - 1), VIRTIO_BLK_S_OK);
	assert_int_equal(read_sector(all / 2), VIRTIO_BLK_S_IOERR);
	vhost_user_resize(vmm.vhost, DISK_BYTES);
	assert_int_equal(messages(channel), 1);
	assert_int_equal(capacity(), all);
	assert_int_equal(read_sector(all - 1), VIRTIO_BLK_S_OK);
	assert_int_equal(read_sector(all), VIRTIO_BLK_S_IOERR);
	/* No news is not told: the same size, and part of a sector more. */
	vhost_user_resize(vmm.vhost, DISK_BYTES);
	vhost_user_resize(vmm.vhost, DISK_BYTES + 511);
	assert_int_equal(messages(channel), 0);
	assert_int_equal(capacity(), all);
	close(channel);
	vmm_end(&vmm);
}

static void a_vmm_from_before_is_told_as_its_first_ring_starts(void **state)
{
	int channel;

	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	channel = give_channel();
	assert_int_equal(messages(channel), 0);
	assert_int_equal(read_sector(0), VIRTIO_BLK_S_OK);
	assert_int_equal(messages(channel), 1);
	guest_kick(&vmm, 1);
	pump(&vmm);
	assert_int_equal(messages(channel), 0);
	close(channel);
	vmm_end(&vmm);
}

static void stop(unsigned q)
{
	struct vhost_user_vring_state ring = { .index = q };

	vmm_send(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring), NULL, 0);
	assert_int_equal(vmm_receive(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring)), sizeof(ring));
	vmm_describe_ring(&vmm, q, ring.num);
}

/* Spec: "Suspended device state": no messages while all rings are stopped. QEMU would throw them away. */
static void a_vmm_that_pauses_its_guest_is_told_when_it_goes_on(void **state)
{
	int channel;

	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	channel = give_channel();
	assert_int_equal(read_sector(0), VIRTIO_BLK_S_OK);
	guest_kick(&vmm, 1);
	pump(&vmm);
	messages(channel);
	stop(0);
	vhost_user_resize(vmm.vhost, DISK_BYTES / 2);
	assert_int_equal(messages(channel), 1);
	stop(1);
	vhost_user_resize(vmm.vhost, DISK_BYTES / 4);
	vhost_user_resize(vmm.vhost, DISK_BYTES / 8);
	assert_int_equal(messages(channel), 0);
	assert_int_equal(read_sector(0), VIRTIO_BLK_S_OK);
	assert_int_equal(messages(channel), 1);
	assert_int_equal(capacity(), DISK_BYTES / 8 / 512);
	/* Nothing new, nothing told. */
	stop(0);
	assert_int_equal(read_sector(0), VIRTIO_BLK_S_OK);
	assert_int_equal(messages(channel), 0);
	close(channel);
	vmm_end(&vmm);
}

static void without_a_channel_the_size_is_read(void **state)
{
	(void)state;
	vmm_begin(&vmm);
	vhost_user_resize(vmm.vhost, DISK_BYTES / 4);
	vmm_boot(&vmm);
	assert_int_equal(capacity(), DISK_BYTES / 4 / 512);
	assert_int_equal(read_sector(DISK_BYTES / 4 / 512), VIRTIO_BLK_S_IOERR);
	vhost_user_resize(vmm.vhost, DISK_BYTES);
	assert_int_equal(capacity(), DISK_BYTES / 512);
	assert_int_equal(read_sector(DISK_BYTES / 4 / 512), VIRTIO_BLK_S_OK);
	vmm_end(&vmm);
}

static void a_vmm_that_does_not_read_its_channel_stops_nothing(void **state)
{
	int channel;

	(void)state;
	vmm_begin(&vmm);
	vmm_boot(&vmm);
	channel = give_channel();
	assert_int_equal(read_sector(0), VIRTIO_BLK_S_OK);
	for (unsigned i = 0; i < 20000; i++)
		vhost_user_resize(vmm.vhost, i % 2 ? DISK_BYTES : DISK_BYTES / 2);
	assert_int_equal(read_sector(0), VIRTIO_BLK_S_OK);
	/* Something is there to be found, and what came last is what will be read. */
	assert_in_range(messages(channel), 1, 20000);
	assert_int_equal(capacity(), DISK_BYTES / 512);
	close(channel);
	vhost_user_resize(vmm.vhost, DISK_BYTES / 2);
	assert_int_equal(read_sector(0), VIRTIO_BLK_S_OK);
	vmm_end(&vmm);
}

static void channels_are_closed_with_their_vmm(void **state)
{
	unsigned before;
	uint8_t byte;
	int first, second;

	(void)state;
	vmm_begin(&vmm);
	before = open_descriptors();
	vmm_boot(&vmm);
	first = give_channel();
	second = give_channel();
	assert_int_equal(recv(first, &byte, 1, 0), 0);
	vmm_disconnect(&vmm);
	pump(&vmm);
	assert_int_equal(recv(second, &byte, 1, 0), 0);
	close(first);
	close(second);
	assert_int_equal(open_descriptors(), before);
	vhost_user_resize(vmm.vhost, DISK_BYTES / 2);
	vmm_end(&vmm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vmm_is_told_and_requests_are_held_against_it),
		cmocka_unit_test(a_vmm_from_before_is_told_as_its_first_ring_starts),
		cmocka_unit_test(a_vmm_that_pauses_its_guest_is_told_when_it_goes_on),
		cmocka_unit_test(without_a_channel_the_size_is_read),
		cmocka_unit_test(a_vmm_that_does_not_read_its_channel_stops_nothing),
		cmocka_unit_test(channels_are_closed_with_their_vmm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
