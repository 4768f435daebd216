/* A connection is served, too, where the kernel has no small buffers for its receives: all of them taken for ever, or none to
 * begin with. If this fails, many who stall keep the others from being heard, or a kernel without such buffers serves nobody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "server/nbd_wire.h"
#include "tests/fuzz/one_worker.h"

enum { DISK = 1 << 20, BLOCK = 4096, REQUESTS = 3 * RECEIVE_SMALL / sizeof(struct nbd_request_header) };

static struct one_worker one;
static int client;

static void send_request(uint16_t type, uint32_t length)
{
	struct nbd_request_header header = {
		.magic = htobe32(NBD_REQUEST_MAGIC), .type = htobe16(type), .length = htobe32(length)
	};

	assert_int_equal(send(client, &header, sizeof(header), 0), sizeof(header));
}

static void send_write(void)
{
	uint8_t data[BLOCK] = { 1 };

	send_request(NBD_CMD_WRITE, BLOCK);
	assert_int_equal(send(client, data, sizeof(data), 0), sizeof(data));
}

static void receive_reply(uint32_t length)
{
	struct nbd_simple_reply reply;
	uint8_t data[BLOCK];

	assert_int_equal(recv(client, &reply, sizeof(reply), MSG_WAITALL), sizeof(reply));
	assert_int_equal(reply.error, 0);
	if (length > 0)
		assert_int_equal(recv(client, data, length, MSG_WAITALL), length);
}

/* One after the other, many at once, and the end. */
static void *run_client(void *argument)
{
	for (unsigned i = 0; i < 10; i++) {
		send_request(NBD_CMD_READ, BLOCK);
		receive_reply(BLOCK);
		send_write();
		receive_reply(0);
	}
	for (unsigned i = 0; i < REQUESTS; i++)
		send_request(NBD_CMD_FLUSH, 0);
	for (unsigned i = 0; i < REQUESTS; i++)
		receive_reply(0);
	send_request(NBD_CMD_DISC, 0);
	close(client);
	return argument;
}

static void serve(void)
{
	struct session *session;
	pthread_t thread;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	client = fds[1];
	session = session_new(fds[0], &one.export, (struct dialect){ 0 }, "test", NULL, 0);
	assert_non_null(session);
	session_belong(session, one_worker_admit(&one));
	assert_int_equal(pthread_create(&thread, NULL, run_client, NULL), 0);
	one_worker_serve(&one, session);
	one_worker_join(&one, thread);
	one_worker_is_idle(&one);
}

static unsigned provided(void)
{
	return one.worker.receives.ring->tail;
}

static void buffers_come_back(void **state)
{
	unsigned before = provided(), taken;

	(void)state;
	serve();
	taken = provided() - before;
	assert_in_range(taken, 10, UINT16_MAX); /* at least one for each read */
	assert_int_equal(one.worker.receives.count, RECEIVE_SMALL_STEP);
}

/* As if others held them. */
static void all_are_taken(void **state)
{
	struct receive_pool *pool = &one.worker.receives;
	struct uring *uring = &one.worker.ring;

	(void)state;
	assert_int_equal(io_uring_unregister_buf_ring(&uring->ring, 0), 0);
	receive_pool_fini(pool);
	assert_int_equal(receive_pool_init(pool, uring), 0);
	io_uring_buf_ring_init(pool->ring);
	pool->count = RECEIVE_SMALL_MAX;
	serve();
	assert_int_equal(provided(), 0);
}

/* As if others held all but what comes now. */
static void more_are_made(void **state)
{
	struct receive_pool *pool = &one.worker.receives;

	(void)state;
	pool->count = RECEIVE_SMALL_MAX - 1;
	serve();
	assert_int_equal(pool->count, RECEIVE_SMALL_MAX);
	assert_in_range(provided(), 5, UINT16_MAX);
}

static void there_is_none(void **state)
{
	(void)state;
	assert_int_equal(io_uring_unregister_buf_ring(&one.worker.ring.ring, 0), 0);
	receive_pool_fini(&one.worker.receives);
	assert_false(receive_pool_exists(&one.worker.receives));
	serve();
}

static int setup(void **state)
{
	(void)state;
	one_worker_begin(&one, DISK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	disk_free(one.disk.below);
	buffer_pool_fini(&one.worker.buffers);
	request_pool_fini(&one.worker.requests);
	uring_fini(&one.worker.ring);
	receive_pool_fini(&one.worker.receives);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buffers_come_back),
		cmocka_unit_test(all_are_taken),
		cmocka_unit_test(more_are_made),
		cmocka_unit_test(there_is_none),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
