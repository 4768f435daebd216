/* A message that is wrong in any way is refused, with an answer where one was asked for; its descriptors are closed, and
 * the back-end goes on to serve the next VMM.  If this fails, one broken or hostile VMM takes the daemon down or makes it
 * collect descriptors until there are none. */
#include "vmm.h"

static struct vmm vmm;

struct bad {
	const char *name;
	uint32_t request, size;
	uint64_t payload[40];
	unsigned fds;
};

#define REGION(address, size, user, offset) (address), (size), (user), (offset)
#define STATE(index, num)		    ((uint64_t)(num) << 32 | (index))

/* Each is a whole message; all are sent with rings described and the first of them started. */
static const struct bad bads[] = {
	{ "request 0", 0, 0, { 0 }, 0 },
	{ "a request we do not offer", VHOST_USER_REQUESTS, 20, { 0 }, 0 },
	{ "a request of the future", 1000, 8, { 0 }, 0 },
	{ "the last request there can be", UINT32_MAX, 0, { 0 }, 0 },
	{ "SET_FEATURES of nothing", VHOST_USER_SET_FEATURES, 0, { 0 }, 0 },
	{ "SET_FEATURES, too long", VHOST_USER_SET_FEATURES, 16, { 0 }, 0 },
	{ "SET_FEATURES with descriptors", VHOST_USER_SET_FEATURES, 8, { 0 }, 1 },
	{ "SET_FEATURES, secure erase", VHOST_USER_SET_FEATURES, 8, { 1ull << 16 }, 0 },
	{ "SET_PROTOCOL_FEATURES not offered", VHOST_USER_SET_PROTOCOL_FEATURES, 8, { 1ull << 14 }, 0 },
	{ "SET_OWNER with a payload", VHOST_USER_SET_OWNER, 8, { 0 }, 0 },
	{ "SET_MEM_TABLE, empty", VHOST_USER_SET_MEM_TABLE, 0, { 0 }, 0 },
	{ "SET_MEM_TABLE of 9", VHOST_USER_SET_MEM_TABLE, 264, { 9 }, 8 },
	{ "SET_MEM_TABLE shorter than it says", VHOST_USER_SET_MEM_TABLE, 40, { 2 }, 2 },
	{ "SET_MEM_TABLE without descriptor", VHOST_USER_SET_MEM_TABLE, 40, { 1, REGION(0, 4096, 0, 0) }, 0 },
	{ "SET_MEM_TABLE with one too many", VHOST_USER_SET_MEM_TABLE, 40, { 1, REGION(0, 4096, 0, 0) }, 2 },
	{ "SET_MEM_TABLE past the file", VHOST_USER_SET_MEM_TABLE, 40, { 1, REGION(0, 1ull << 40, 0, 0) },
		1 },
	{ "SET_MEM_TABLE that overlaps", VHOST_USER_SET_MEM_TABLE, 72,
		{ 2, REGION(0, 4096, 0, 0), REGION(4095, 4096, 1 << 20, 0) }, 2 },
	{ "SET_MEM_TABLE that overlaps for the VMM", VHOST_USER_SET_MEM_TABLE, 72,
		{ 2, REGION(0, 4096, 1 << 20, 0), REGION(1 << 20, 4096, (1 << 20) + 4095, 0) }, 2 },
	{ "SET_MEM_TABLE of no bytes", VHOST_USER_SET_MEM_TABLE, 40, { 1, REGION(0, 0, 0, 0) }, 1 },
	{ "SET_MEM_TABLE over all addresses", VHOST_USER_SET_MEM_TABLE, 40,
		{ 1, REGION(-4095ull, 8192, 0, 0) }, 1 },
	{ "SET_MEM_TABLE over the VMM's addresses", VHOST_USER_SET_MEM_TABLE, 40,
		{ 1, REGION(0, 8192, -4095ull, 0) }, 1 },
	{ "SET_MEM_TABLE over any file", VHOST_USER_SET_MEM_TABLE, 40, { 1, REGION(0, 8192, 0, -4095ull) },
		1 },
	{ "SET_MEM_TABLE of all there is", VHOST_USER_SET_MEM_TABLE, 40, { 1, REGION(0, UINT64_MAX, 0, 0) },
		1 },
	{ "SET_MEM_TABLE of 2^32 - 1", VHOST_USER_SET_MEM_TABLE, 40, { UINT32_MAX, REGION(0, 4096, 0, 0) },
		1 },
	{ "SET_MEM_TABLE of none with a descriptor", VHOST_USER_SET_MEM_TABLE, 8, { 0 }, 1 },
	{ "ADD_MEM_REG without descriptor", VHOST_USER_ADD_MEM_REG, 40, { 0, REGION(0, 4096, 0, 0) }, 0 },
	{ "ADD_MEM_REG with two", VHOST_USER_ADD_MEM_REG, 40, { 0, REGION(0, 4096, 0, 0) }, 2 },
	{ "ADD_MEM_REG over the end", VHOST_USER_ADD_MEM_REG, 40, { 0, REGION(UINT64_MAX, 4096, 0, 0) }, 1 },
	{ "REM_MEM_REG of none", VHOST_USER_REM_MEM_REG, 40, { 0, REGION(0, 4096, 0, 0) }, 0 },
	{ "SET_VRING_NUM of no ring", VHOST_USER_SET_VRING_NUM, 8, { STATE(2, 16) }, 0 },
	{ "SET_VRING_NUM of the last ring", VHOST_USER_SET_VRING_NUM, 8, { STATE(UINT32_MAX, 16) }, 0 },
	{ "SET_VRING_NUM 0", VHOST_USER_SET_VRING_NUM, 8, { STATE(1, 0) }, 0 },
	{ "SET_VRING_NUM 17", VHOST_USER_SET_VRING_NUM, 8, { STATE(1, 17) }, 0 },
	{ "SET_VRING_NUM 2048", VHOST_USER_SET_VRING_NUM, 8, { STATE(1, 2048) }, 0 },
	{ "SET_VRING_NUM 2^31", VHOST_USER_SET_VRING_NUM, 8, { STATE(1, 1u << 31) }, 0 },
	{ "SET_VRING_NUM when started", VHOST_USER_SET_VRING_NUM, 8, { STATE(0, 32) }, 0 },
	{ "SET_VRING_BASE when started", VHOST_USER_SET_VRING_BASE, 8, { STATE(0, 0) }, 0 },
	{ "SET_VRING_BASE beyond 16 bits", VHOST_USER_SET_VRING_BASE, 8, { STATE(1, 65536) }, 0 },
	{ "SET_VRING_ADDR of no ring", VHOST_USER_SET_VRING_ADDR, 40, { 77 }, 0 },
	{ "SET_VRING_ADDR with unknown flags", VHOST_USER_SET_VRING_ADDR, 40, { STATE(1, 2) }, 0 },
	{ "SET_VRING_ADDR when started", VHOST_USER_SET_VRING_ADDR, 40, { STATE(0, 0), 16, 32, 64 }, 0 },
	{ "SET_VRING_ENABLE 2", VHOST_USER_SET_VRING_ENABLE, 8, { STATE(0, 2) }, 0 },
	{ "SET_VRING_ENABLE of no ring", VHOST_USER_SET_VRING_ENABLE, 8, { STATE(99, 1) }, 0 },
	{ "SET_VRING_KICK without", VHOST_USER_SET_VRING_KICK, 8, { 0 }, 0 },
	{ "SET_VRING_KICK, both", VHOST_USER_SET_VRING_KICK, 8, { VHOST_USER_VRING_NO_FD }, 1 },
	{ "SET_VRING_KICK, two", VHOST_USER_SET_VRING_KICK, 8, { 0 }, 2 },
	{ "SET_VRING_KICK, a file", VHOST_USER_SET_VRING_KICK, 8, { 1 }, 1 },
	{ "SET_VRING_KICK of no ring", VHOST_USER_SET_VRING_KICK, 8, { 255 }, 1 },
	{ "SET_VRING_CALL, odd bits", VHOST_USER_SET_VRING_CALL, 8, { 1 << 9 }, 1 },
	{ "SET_VRING_ERR without", VHOST_USER_SET_VRING_ERR, 8, { 0 }, 0 },
	{ "SET_INFLIGHT_FD, short", VHOST_USER_SET_INFLIGHT_FD, 19, { 4096 }, 1 },
	{ "SET_INFLIGHT_FD without", VHOST_USER_SET_INFLIGHT_FD, 20, { 4096, 0, STATE(2 | 16 << 16, 0) }, 0 },
	{ "SET_INFLIGHT_FD when started", VHOST_USER_SET_INFLIGHT_FD, 20, { 4096, 0, STATE(2 | 16 << 16, 0) },
		1 },
	{ "SET_BACKEND_REQ_FD without", VHOST_USER_SET_BACKEND_REQ_FD, 0, { 0 }, 0 },
	{ "SET_BACKEND_REQ_FD, two", VHOST_USER_SET_BACKEND_REQ_FD, 0, { 0 }, 2 },
	{ "SET_CONFIG, short", VHOST_USER_SET_CONFIG, 11, { 0 }, 0 },
	{ "SET_CONFIG of capacity", VHOST_USER_SET_CONFIG, 13, { STATE(0, 1), 0 }, 0 },
	{ "SET_CONFIG of another size", VHOST_USER_SET_CONFIG, 13, { STATE(32, 9), 0 }, 0 },
	{ "SET_CONFIG of 4 GiB", VHOST_USER_SET_CONFIG, 13, { STATE(32, UINT32_MAX), 0 }, 0 },
	{ "SET_CONFIG, odd flags", VHOST_USER_SET_CONFIG, 13, { STATE(32, 1), STATE(2, 1) }, 0 },
	{ "SET_CONFIG writeback 2", VHOST_USER_SET_CONFIG, 13, { STATE(32, 1), STATE(0, 2) }, 0 },
};

/* Those whose answer has a form of its own, in which an error cannot be said. */
static const struct bad unanswerable[] = {
	{ "GET_FEATURES with a payload", VHOST_USER_GET_FEATURES, 8, { 0 }, 0 },
	{ "GET_FEATURES with a descriptor", VHOST_USER_GET_FEATURES, 0, { 0 }, 1 },
	{ "GET_QUEUE_NUM with a payload", VHOST_USER_GET_QUEUE_NUM, 8, { 0 }, 0 },
	{ "GET_STATUS with a payload", VHOST_USER_GET_STATUS, 1, { 0 }, 0 },
	{ "GET_VRING_BASE of no ring", VHOST_USER_GET_VRING_BASE, 8, { STATE(VMM_QUEUES, 0) }, 0 },
	{ "GET_VRING_BASE, short", VHOST_USER_GET_VRING_BASE, 4, { 0 }, 0 },
	{ "GET_CONFIG, short", VHOST_USER_GET_CONFIG, 11, { 0 }, 0 },
	{ "GET_CONFIG with a descriptor", VHOST_USER_GET_CONFIG, 13, { STATE(32, 1) }, 1 },
	{ "GET_INFLIGHT_FD, short", VHOST_USER_GET_INFLIGHT_FD, 19, { 0 }, 0 },
	{ "GET_INFLIGHT_FD with a descriptor", VHOST_USER_GET_INFLIGHT_FD, 20, { 0, 0, 1 | 16 << 16 }, 1 },
	{ "GET_INFLIGHT_FD of no rings", VHOST_USER_GET_INFLIGHT_FD, 20, { 0, 0, 16 << 16 }, 0 },
	{ "GET_INFLIGHT_FD of 65535 rings", VHOST_USER_GET_INFLIGHT_FD, 20, { 0, 0, 65535 | 16 << 16 }, 0 },
	{ "GET_INFLIGHT_FD of size 0", VHOST_USER_GET_INFLIGHT_FD, 20, { 0, 0, 1 }, 0 },
	{ "GET_INFLIGHT_FD of size 17", VHOST_USER_GET_INFLIGHT_FD, 20, { 0, 0, 1 | 17 << 16 }, 0 },
	{ "GET_INFLIGHT_FD of size 65535", VHOST_USER_GET_INFLIGHT_FD, 20, { 0, 0, 1 | 0xffffull << 16 }, 0 },
	{ "SET_LOG_BASE without descriptor", VHOST_USER_SET_LOG_BASE, 16, { 4096, 0 }, 0 },
	{ "SET_LOG_BASE of no bytes", VHOST_USER_SET_LOG_BASE, 16, { 0, 0 }, 1 },
	{ "SET_LOG_BASE past its file", VHOST_USER_SET_LOG_BASE, 16, { 1ull << 40, 0 }, 1 },
	{ "SET_LOG_BASE over any file", VHOST_USER_SET_LOG_BASE, 16, { 4096, -64ull }, 1 },
};

/* Started: ring 0. */
static void boot(void)
{
	vmm_boot(&vmm);
	guest_ask(&vmm, 0, 0, VIRTIO_BLK_T_IN, 0);
	guest_kick(&vmm, 0);
	pump(&vmm);
}

static int send_bad(const struct bad *bad)
{
	/* For a region a memory file, for a ring something that no loop can wait for. */
	int fds[8];

	for (unsigned i = 0; i < bad->fds; i++)
		fds[i] = vmm.driver[0].fd;
	return vmm_set(&vmm, bad->request, bad->payload, bad->size, fds, bad->fds);
}

static void each_is_refused_with_an_answer(void **state)
{
	unsigned before;

	(void)state;
	vmm_begin(&vmm);
	boot();
	before = open_descriptors();
	for (unsigned i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		print_message("# %s\n", bads[i].name);
		assert_int_equal(send_bad(&bads[i]), 1);
		assert_int_equal(open_descriptors(), before);
	}
	/* Nothing has changed: both rings work. */
	for (unsigned q = 0; q < VMM_QUEUES; q++) {
		guest_ask(&vmm, q, 1, VIRTIO_BLK_T_IN, 0);
		guest_kick(&vmm, q);
		pump(&vmm);
		assert_int_equal(*driver_used_idx(&vmm.driver[q]), q == 0 ? 2 : 1);
	}
	vmm_end(&vmm);
}

static void each_closes_a_connection_that_wants_no_answer(void **state)
{
	unsigned before;

	(void)state;
	vmm_begin(&vmm);
	before = open_descriptors();
	for (unsigned i = 0; i < sizeof(bads) / sizeof(bads[0]); i++) {
		print_message("# %s\n", bads[i].name);
		boot();
		vmm.ack = false;
		assert_int_equal(send_bad(&bads[i]), CLOSED);
		vmm_disconnect(&vmm);
		pump(&vmm);
		assert_int_equal(open_descriptors(), before);
	}
	vmm_end(&vmm);
}

static void those_without_another_answer_are_closed(void **state)
{
	unsigned before;

	(void)state;
	vmm_begin(&vmm);
	before = open_descriptors();
	for (unsigned i = 0; i < sizeof(unanswerable) / sizeof(unanswerable[0]); i++) {
		print_message("# %s\n", unanswerable[i].name);
		boot();
		assert_int_equal(send_bad(&unanswerable[i]), CLOSED);
		vmm_disconnect(&vmm);
		pump(&vmm);
		assert_int_equal(open_descriptors(), before);
	}
	vmm_end(&vmm);
}

/* Spec: "REPLY_ACK": an answer to what asks for one, if that was negotiated; what has an answer of its own gets no other. */
static void answers_come_where_they_were_negotiated(void **state)
{
	uint64_t features;

	(void)state;
	vmm_begin(&vmm);
	boot();
	assert_int_equal(vmm_get(&vmm, VHOST_USER_GET_QUEUE_NUM), VMM_QUEUES);
	assert_int_equal(vmm_receive(&vmm, 0, NULL, 0), NO_REPLY);
	assert_int_equal(vmm_set(&vmm, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0), 0);
	/* From now on the flag means nothing. */
	assert_int_equal(
		vmm_set_u64(&vmm, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_PROTOCOL_F_REPLY_ACK), 0);
	features = 0;
	vmm_send(&vmm, VHOST_USER_SET_PROTOCOL_FEATURES, &features, sizeof(features), NULL, 0);
	assert_int_equal(vmm_receive(&vmm, 0, NULL, 0), NO_REPLY);
	vmm_send(&vmm, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0);
	assert_int_equal(vmm_receive(&vmm, 0, NULL, 0), NO_REPLY);
	assert_int_equal(vmm_get(&vmm, VHOST_USER_GET_QUEUE_NUM), VMM_QUEUES);
	vmm_send(&vmm, VHOST_USER_REQUESTS, NULL, 0, NULL, 0);
	assert_int_equal(vmm_receive(&vmm, 0, NULL, 0), CLOSED);
	vmm_end(&vmm);
}

static void a_stream_that_makes_no_sense_is_closed(void **state)
{
	static const struct vhost_user_header headers[] = {
		{ VHOST_USER_GET_FEATURES, 0, 0 },
		{ VHOST_USER_GET_FEATURES, 2, 0 },
		{ VHOST_USER_GET_FEATURES, VHOST_USER_VERSION | VHOST_USER_REPLY, 0 },
		{ VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, UINT32_MAX },
		{ VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, sizeof(union vhost_user_payload) + 1 },
		/* Those that expect an answer of their own cannot be refused by another. */
		{ VHOST_USER_GET_FEATURES, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, 1 },
	};
	uint8_t byte = 0;

	(void)state;
	vmm_begin(&vmm);
	for (unsigned i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		vmm_connect(&vmm);
		vmm_negotiate(&vmm, VMM_FEATURES);
		vmm_send_raw(&vmm, &headers[i], sizeof(headers[i]), NULL, 0);
		if (headers[i].size == 1)
			vmm_send_raw(&vmm, &byte, 1, NULL, 0);
		assert_int_equal(vmm_receive(&vmm, 0, NULL, 0), CLOSED);
		vmm_disconnect(&vmm);
	}
	vmm_end(&vmm);
}

static void a_message_may_come_byte_by_byte(void **state)
{
	struct {
		struct vhost_user_header header;
		uint64_t index;
	} __attribute__((packed)) message = { { VHOST_USER_SET_VRING_CALL, VHOST_USER_VERSION, 8 }, 1 };
	uint64_t features;

	(void)state;
	vmm_begin(&vmm);
	vmm_connect(&vmm);
	for (size_t i = 0; i < sizeof(message); i++) {
		/* With the last byte: a descriptor is the message's wherever in it it comes. */
		bool last = i == sizeof(message) - 1;

		vmm_send_raw(&vmm, (char *)&message + i, 1, &vmm.call[1], last);
		pump(&vmm);
	}
	vmm_send(&vmm, VHOST_USER_GET_FEATURES, NULL, 0, NULL, 0);
	assert_int_equal(vmm_receive(&vmm, VHOST_USER_GET_FEATURES, &features, sizeof(features)), 8);
	/* Half a message, and gone. */
	vmm_send_raw(&vmm, &message, 15, &vmm.call[1], 1);
	pump(&vmm);
	vmm_disconnect(&vmm);
	vmm_end(&vmm);
}

static void descriptors_beyond_the_most_are_closed(void **state)
{
	struct vhost_user_header header = { VHOST_USER_SET_OWNER, VHOST_USER_VERSION, 0 };
	struct vhost_user_header longer = { VHOST_USER_SET_FEATURES, VHOST_USER_VERSION, 8 };
	unsigned before;
	int fds[32];

	(void)state;
	vmm_begin(&vmm);
	before = open_descriptors();
	for (unsigned i = 0; i < 32; i++)
		fds[i] = vmm.call[0];
	for (unsigned count = 9; count <= 32; count += 23) {
		vmm_connect(&vmm);
		vmm_send_raw(&vmm, &header, sizeof(header), fds, count);
		assert_int_equal(vmm_receive(&vmm, 0, NULL, 0), CLOSED);
		vmm_disconnect(&vmm);
	}
	/* In two parts. */
	vmm_connect(&vmm);
	vmm_send_raw(&vmm, &longer, sizeof(longer), fds, 8);
	vmm_send_raw(&vmm, &before, sizeof(before), fds, 1);
	assert_int_equal(vmm_receive(&vmm, 0, NULL, 0), CLOSED);
	vmm_disconnect(&vmm);
	pump(&vmm);
	assert_int_equal(open_descriptors(), before);
	vmm_end(&vmm);
}

static void a_vmm_that_reads_no_replies_is_closed(void **state)
{
	struct vhost_user_header header = { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0 };
	bool closed = false;

	(void)state;
	vmm_begin(&vmm);
	vmm_connect(&vmm);
	for (unsigned i = 0; i < 100000 && !closed; i++) {
		if (send(vmm.socket, &header, sizeof(header), MSG_NOSIGNAL) < 0)
			closed = errno == EPIPE || errno == ECONNRESET;
		if (i % 16 == 0)
			pump(&vmm);
	}
	assert_true(closed);
	vmm_disconnect(&vmm);
	vmm_boot(&vmm);
	vmm_end(&vmm);
}

static void get_config_says_its_errors_by_no_payload(void **state)
{
	static const struct {
		uint32_t offset, size;
		int reply;
	} cases[] = { { 0, 0, 12 }, { 256, 0, 12 }, { 0, 60, 72 }, { 32, 1, 13 }, { 0, 256, 268 },
		{ 200, 56, 68 }, { 200, 57, 0 }, { 257, 0, 0 }, { UINT32_MAX, 1, 0 } };

	(void)state;
	vmm_begin(&vmm);
	vmm_connect(&vmm);
	vmm_negotiate(&vmm, VMM_FEATURES);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vhost_user_config config = { .offset = cases[i].offset, .size = cases[i].size };

		vmm_send(&vmm, VHOST_USER_GET_CONFIG, &config, 12 + config.size, NULL, 0);
		assert_int_equal(
			vmm_receive(&vmm, VHOST_USER_GET_CONFIG, &config, sizeof(config)), cases[i].reply);
		if (cases[i].size == 1 && cases[i].reply)
			assert_int_equal(config.bytes[0], 1);
	}
	vmm_end(&vmm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_is_refused_with_an_answer),
		cmocka_unit_test(each_closes_a_connection_that_wants_no_answer),
		cmocka_unit_test(those_without_another_answer_are_closed),
		cmocka_unit_test(answers_come_where_they_were_negotiated),
		cmocka_unit_test(a_stream_that_makes_no_sense_is_closed),
		cmocka_unit_test(a_message_may_come_byte_by_byte),
		cmocka_unit_test(descriptors_beyond_the_most_are_closed),
		cmocka_unit_test(a_vmm_that_reads_no_replies_is_closed),
		cmocka_unit_test(get_config_says_its_errors_by_no_payload),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
