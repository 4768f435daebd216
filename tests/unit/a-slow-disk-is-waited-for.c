/* A client that disconnects behind its last requests gets their replies, however long the disk takes: it is the client that has a
 * deadline. If this fails, one that flushes and leaves never hears whether its data is safe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "server/nbd_wire.h"
#include "tests/fuzz/one_worker.h"

enum { DISK = 1 << 20 };

static struct one_worker one;
static struct session *session;
static int client;

/* The flush that is on the disk. */
static struct {
	struct uring_op op;
	struct __kernel_timespec delay;
	struct block_req *block;
} flush;

/* By now the client has disconnected; then time flies. */
static void on_time(struct uring_op *op, int result, unsigned flags)
{
	(void)op;
	(void)result;
	(void)flags;
	for (unsigned ms = 0; ms < 3 * 1000 * FINISH_DEADLINE_S; ms += TICK_MS)
		session_tick(session);
	flush.block->done(flush.block, 0);
}

static int submit(struct disk *disk, struct block_req *block)
{
	(void)disk;
	assert_int_equal(block->op, BLOCK_FLUSH);
	flush.block = block;
	flush.op.done = on_time;
	flush.delay.tv_nsec = 200000000;
	io_uring_prep_timeout(uring_sqe(block->ring, &flush.op), &flush.delay, 0, 0);
	return DISK_PENDING;
}

static void a_reply_comes_late(void **state)
{
	static const struct disk_ops ops = { .submit = submit };
	struct nbd_request_header requests[2] = {
		{ .magic = htobe32(NBD_REQUEST_MAGIC), .type = htobe16(NBD_CMD_FLUSH), .cookie = 7 },
		{ .magic = htobe32(NBD_REQUEST_MAGIC), .type = htobe16(NBD_CMD_DISC) },
	};
	struct nbd_simple_reply reply;
	int fds[2];

	(void)state;
	one.disk.disk.ops = &ops;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	client = fds[1];
	assert_int_equal(send(client, requests, sizeof(requests), 0), sizeof(requests));
	session = session_new(fds[0], &one.export, (struct dialect){ 0 }, "test", NULL, 0);
	assert_non_null(session);
	session_belong(session, one_worker_admit(&one));
	one_worker_serve(&one, session);
	one_worker_is_idle(&one);
	assert_int_equal(recv(client, &reply, sizeof(reply), MSG_DONTWAIT), sizeof(reply));
	assert_int_equal(reply.cookie, 7);
	assert_int_equal(reply.error, 0);
	assert_int_equal(recv(client, &reply, sizeof(reply), MSG_DONTWAIT), 0);
	close(client);
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
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_reply_comes_late) };

	return cmocka_run_group_tests(tests, setup, teardown);
}
