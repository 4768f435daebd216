/* Where two connections share a worker, the few requests of one are begun between the many of the other, and one that is
 * alone still has whole batches. Large ones of many others are not all begun before a small one.
 * If this fails, a virtual machine that reads waits for all that its busy neighbour has sent, every time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "cache/disk_memory.h"
#include "conf/log.h"
#include "server/admission.h"
#include "server/nbd_wire.h"
#include "server/peer.h"
#include "server/session.h"
#include "server/worker.h"

/* What one connection sends at a time: small enough for its socket. */
#define BACKLOG 200
#define BLOCK	512

/* Those who want much at a time. */
#define CROWD 24
#define LARGE (1u << 20)

/* Notes the order in which requests begin, and ends the worker's run after the last one. */
struct noting_disk {
	struct disk disk;
	struct disk *below;
	struct uring *ring;
	unsigned begun, last, reader_came;
	unsigned turns; /* in which some began */
	struct uring_task turn_ended;
};

static struct worker worker;
static struct budget budget;
static struct admission admission;
static struct export export;
static struct noting_disk noting;
static int writer, reader;

static void on_turn_ended(struct uring_task *task)
{
	(void)task;
	noting.turns++;
}

/* The reader's one request is the only read of a block. */
static int submit(struct disk *disk, struct block_req *req)
{
	if (req->op == BLOCK_READ && req->length == BLOCK)
		noting.reader_came = noting.begun;
	uring_defer(noting.ring, &noting.turn_ended);
	if (++noting.begun == noting.last)
		uring_stop(noting.ring);
	(void)disk;
	return disk_submit(noting.below, req);
}

static const struct disk_ops noting_ops = { .submit = submit };

static int connect_client(void)
{
	struct session *session;
	struct origin *origin;
	enum close_reason why;
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_true(admission_enter(&admission, &(struct peer){ 0 }, &origin, &why));
	session = session_new(ends[0], &export, (struct dialect){ 0 }, "test", NULL, 0);
	assert_non_null(session);
	session_belong(session, origin);
	session_hand_over(session, &worker);
	return ends[1];
}

static void send_large_read(int client)
{
	const struct nbd_request_header header = {
		.magic = htobe32(NBD_REQUEST_MAGIC), .type = htobe16(NBD_CMD_READ), .length = htobe32(LARGE)
	};

	assert_int_equal(send(client, &header, sizeof(header), 0), sizeof(header));
}

/* @count requests, in one piece: a socket that gets them one by one has room for fewer. */
static void send_requests(int client, uint16_t type, unsigned count)
{
	static uint8_t message[BACKLOG * (sizeof(struct nbd_request_header) + BLOCK)];
	const struct nbd_request_header header = {
		.magic = htobe32(NBD_REQUEST_MAGIC), .type = htobe16(type), .length = htobe32(BLOCK)
	};
	size_t each = sizeof(header) + (type == NBD_CMD_WRITE ? BLOCK : 0);

	for (unsigned i = 0; i < count; i++)
		memcpy(message + i * each, &header, sizeof(header));
	assert_int_equal(send(client, message, count * each, 0), count * each);
}

static void receive_reply(int client, size_t data)
{
	uint8_t reply[sizeof(struct nbd_simple_reply) + BLOCK];

	assert_int_equal(recv(client, reply, sizeof(struct nbd_simple_reply) + data, MSG_WAITALL),
		sizeof(struct nbd_simple_reply) + data);
}

/* What the clients have sent is there before the worker looks. */
static void run_until(unsigned requests)
{
	noting.begun = noting.turns = 0;
	noting.last = requests;
	noting.reader_came = UINT32_MAX;
	worker.ring.stopping = false;
	uring_run(&worker.ring);
	assert_int_equal(noting.begun, requests);
}

static int setup(void **state)
{
	(void)state;
	log_open("test", LOG_ERROR);
	admission_init(&admission, 3 + CROWD, 3 + CROWD);
	budget_init(&budget, MEMORY_LEAST);
	worker_prepare(&worker, &budget);
	assert_int_equal(uring_init(&worker.ring), 0);
	assert_int_equal(receive_pool_init(&worker.receives, &worker.ring), 0);
	buffer_pool_init(&worker.buffers, POOL_BYTES_MAX);
	request_pool_init(&worker.requests, POOL_REQUESTS_MAX);
	assert_int_equal(disk_memory_open(1 << 20, &noting.below), 0);
	noting.disk.ops = &noting_ops;
	noting.disk.facts = noting.below->facts;
	noting.ring = &worker.ring;
	noting.turn_ended.run = on_turn_ended;
	export.disk = &noting.disk;
	export.spec.name = (char *)"";
	writer = connect_client();
	reader = connect_client();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close(writer);
	close(reader);
	worker.retiring = true;
	worker.ring.stopping = false;
	uring_run(&worker.ring);
	disk_free(noting.below);
	buffer_pool_fini(&worker.buffers);
	request_pool_fini(&worker.requests);
	uring_fini(&worker.ring);
	receive_pool_fini(&worker.receives);
	budget_fini(&budget);
	return 0;
}

/* Both have made a request of late. */
static void know_each_other(void)
{
	send_requests(writer, NBD_CMD_WRITE, 1);
	send_requests(reader, NBD_CMD_READ, 1);
	run_until(2);
	receive_reply(writer, 0);
	receive_reply(reader, BLOCK);
}

static void readers_get_in_between(void **state)
{
	(void)state;
	know_each_other();
	send_requests(writer, NBD_CMD_WRITE, BACKLOG);
	send_requests(reader, NBD_CMD_READ, 1);
	run_until(BACKLOG + 1);
	assert_in_range(noting.reader_came, 0, 2 * TURN_REQUESTS_MAX);
	for (unsigned i = 0; i < BACKLOG; i++)
		receive_reply(writer, 0);
	receive_reply(reader, BLOCK);
}

static void who_is_alone_has_whole_batches(void **state)
{
	(void)state;
	know_each_other();
	for (unsigned turn = 0; turn <= TURNS_SHARED; turn++) {
		send_requests(writer, NBD_CMD_WRITE, 1);
		run_until(1);
		receive_reply(writer, 0);
	}
	send_requests(writer, NBD_CMD_WRITE, BACKLOG);
	run_until(BACKLOG);
	/* The first bytes come alone, into a small buffer. */
	assert_in_range(noting.turns, 1, 2);
	for (unsigned i = 0; i < BACKLOG; i++)
		receive_reply(writer, 0);
}

/* The one who comes behind all of them wants a block. */
static void a_crowd_is_not_all_served_first(void **state)
{
	int crowd[CROWD], late;

	(void)state;
	for (unsigned i = 0; i < CROWD; i++) {
		crowd[i] = connect_client();
		send_large_read(crowd[i]);
	}
	late = connect_client();
	send_requests(late, NBD_CMD_READ, 1);
	run_until(CROWD + 1);
	for (unsigned i = 0; i < CROWD; i++)
		close(crowd[i]);
	close(late);
	/* A turn in which its bytes are received, and one in which it begins. */
	assert_in_range(noting.reader_came, 0, 2 * TURN_LARGE_BYTES_MAX / LARGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readers_get_in_between),
		cmocka_unit_test(who_is_alone_has_whole_batches),
		cmocka_unit_test(a_crowd_is_not_all_served_first),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
