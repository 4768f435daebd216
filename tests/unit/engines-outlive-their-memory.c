/* A guest's memory that its VMM cuts away while a command's data is on its way costs that guest its ring, and not the
 * connection, which may serve others.  If this fails, one VMM takes away disks of other machines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <ev.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/engine.h"
#include "server/nbd_wire.h"
#include "virtio/foreign_memory.h"

#define LENGTH (64u << 10)

static struct rig {
	struct engine_owner owner;
	struct engine *engine;
	struct command command;
	struct block_req req;
	struct iovec iov;
	int file, server; /* the server's end of the connection */
	unsigned answers, losses;
} rig;

static void on_answered(struct engine_owner *owner, struct command *command)
{
	(void)owner;
	assert_int_equal(command->status, 0);
	rig.answers++;
}

static void on_lost(struct engine_owner *owner, const char *why)
{
	(void)owner;
	(void)why;
	rig.losses++;
}

/* Within the test: cmocka has a handler of its own for what is lost until then. */
static void begin(void)
{
	int pair[2];

	memset(&rig, 0, sizeof(rig));
	rig.owner = (struct engine_owner){ on_answered, on_lost };
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	rig.server = pair[1];
	rig.engine = engine_socket_new(pair[0], false, (struct command_pool){ &rig.command, 1 }, &rig.owner);
	assert_non_null(rig.engine);
	rig.file = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(rig.file, LENGTH), 0);
	rig.iov.iov_len = LENGTH;
	rig.iov.iov_base = foreign_memory_map(rig.file, 0, LENGTH, (size_t)sysconf(_SC_PAGESIZE));
	assert_non_null(rig.iov.iov_base);
}

static void end(void)
{
	engine_free(rig.engine);
	foreign_memory_unmap(rig.iov.iov_base);
	close(rig.file);
	close(rig.server);
}

static void issue(enum block_op op)
{
	static const struct command_limits limits = { LENGTH, true, true };

	rig.req = (struct block_req){ .op = op, .length = LENGTH, .iov = &rig.iov, .iov_count = 1 };
	command_start(&rig.command, &rig.req);
	assert_true(command_prepare(&rig.command, &limits, NULL));
	assert_true(engine_issue(rig.engine, &rig.command));
	engine_flush(rig.engine);
}

/* Takes what the engine sends until @length bytes are there. */
static void server_takes(uint8_t *bytes, size_t length)
{
	for (size_t at = 0; at < length;) {
		ssize_t got = recv(rig.server, bytes + at, length - at, 0);

		if (got < 0)
			engine_on_ready(rig.engine, EV_WRITE);
		else
			at += (size_t)got;
		assert_int_equal(rig.losses, 0);
	}
}

static void server_says(const void *bytes, size_t length)
{
	for (size_t at = 0; at < length;) {
		ssize_t sent = send(rig.server, (const uint8_t *)bytes + at, length - at, 0);

		if (sent > 0)
			at += (size_t)sent;
		engine_on_ready(rig.engine, EV_READ);
		assert_int_equal(rig.losses, 0);
	}
}

static void server_answers(const uint8_t *request)
{
	struct nbd_simple_reply reply = { .magic = htobe32(NBD_SIMPLE_REPLY_MAGIC) };

	memcpy(&reply.cookie, request + offsetof(struct nbd_request_header, cookie), sizeof(reply.cookie));
	server_says(&reply, sizeof(reply));
}

static void data_for_memory_that_is_gone_is_received(void **state)
{
	static uint8_t request[sizeof(struct nbd_request_header)], data[LENGTH];

	(void)state;
	begin();
	issue(BLOCK_READ);
	server_takes(request, sizeof(request));
	assert_int_equal(ftruncate(rig.file, LENGTH / 2), 0);
	server_answers(request);
	server_says(data, sizeof(data));
	assert_int_equal(rig.answers, 1);
	assert_true(foreign_memory_is_lost(rig.iov.iov_base));
	end();
}

static void data_in_memory_that_is_gone_is_sent(void **state)
{
	static uint8_t request[sizeof(struct nbd_request_header) + LENGTH];

	(void)state;
	begin();
	assert_int_equal(ftruncate(rig.file, LENGTH / 2), 0);
	issue(BLOCK_WRITE);
	server_takes(request, sizeof(request));
	server_answers(request);
	assert_int_equal(rig.answers, 1);
	assert_true(foreign_memory_is_lost(rig.iov.iov_base));
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_for_memory_that_is_gone_is_received),
		cmocka_unit_test(data_in_memory_that_is_gone_is_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
