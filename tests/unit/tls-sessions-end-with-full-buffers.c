/* The server may end while a client writes through TLS as fast as it can, and all that a receive takes has just come. If this
 * fails, it does not end but abort, and takes back what other clients are told at that moment. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <gnutls/gnutls.h>

#include "server/session_parts.h"
#include "tests/fuzz/one_worker.h"

enum { DISK = 1 << 20, QUEUED = TLS_RECEIVE_BYTES + 4096 };

static char key_file[] = "/tmp/vnbd-psk.XXXXXX";
static const uint8_t key[16] = "0123456789abcdef";
static struct tls tls;
static struct tls_stream *stream;
static struct one_worker one;
static struct session *session;
static int client_fd;
static unsigned receives;

/* The client, as far as its handshake. */
static struct {
	gnutls_session_t session;
	gnutls_psk_client_credentials_t psk;
	uint8_t bytes[1 << 16];
	size_t start, end;
} client;

static ssize_t pull(gnutls_transport_ptr_t pointer, void *bytes, size_t length)
{
	size_t here = client.end - client.start;

	(void)pointer;
	if (here == 0) {
		gnutls_transport_set_errno(client.session, EAGAIN);
		return -1;
	}
	if (length > here)
		length = here;
	memcpy(bytes, client.bytes + client.start, length);
	client.start += length;
	return (ssize_t)length;
}

static ssize_t push(gnutls_transport_ptr_t pointer, const void *bytes, size_t length)
{
	struct iovec space = tls_stream_space(stream);

	(void)pointer;
	assert_true(length <= space.iov_len);
	memcpy(space.iov_base, bytes, length);
	tls_stream_received(stream, length);
	return (ssize_t)length;
}

static void take_from_server(void)
{
	struct iovec out = tls_stream_out(stream);

	assert_true(client.end + out.iov_len <= sizeof(client.bytes));
	memcpy(client.bytes + client.end, out.iov_base, out.iov_len);
	client.end += out.iov_len;
	tls_stream_sent(stream, out.iov_len);
}

static void shake_hands(void)
{
	const gnutls_datum_t secret = { (unsigned char *)key, sizeof(key) };
	int server = -EAGAIN, ours = GNUTLS_E_AGAIN;
	struct identity who = { 0 };
	const char *why;

	stream = tls_stream_new(tls.credentials);
	gnutls_init(&client.session, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
	gnutls_psk_allocate_client_credentials(&client.psk);
	gnutls_psk_set_client_credentials(client.psk, "bob", &secret, GNUTLS_PSK_KEY_RAW);
	gnutls_priority_set_direct(client.session, "NORMAL:-KX-ALL:+ECDHE-PSK", NULL);
	gnutls_credentials_set(client.session, GNUTLS_CRD_PSK, client.psk);
	gnutls_transport_set_pull_function(client.session, pull);
	gnutls_transport_set_push_function(client.session, push);
	for (int i = 0; i < 100 && (server == -EAGAIN || ours == GNUTLS_E_AGAIN); i++) {
		if (ours == GNUTLS_E_AGAIN)
			ours = gnutls_handshake(client.session);
		if (server == -EAGAIN)
			server = tls_stream_handshake(stream, &who, &why);
		take_from_server();
	}
	assert_int_equal(server, 0);
	assert_int_equal(ours, 0);
	identity_fini(&who);
}

static void (*received)(struct uring_op *op, int result, unsigned flags);

/* As if the letter that wants the session to end had come in the same turn. */
static void receive(struct uring_op *op, int result, unsigned flags)
{
	received(op, result, flags);
	receives++;
	if (receives == 1) {
		assert_int_equal(result, TLS_RECEIVE_BYTES);
		session_finish(session, CLOSE_shutdown);
	} else if (receives == 2) {
		assert_int_equal(result, QUEUED - TLS_RECEIVE_BYTES);
		close(client_fd);
	}
}

static void queue_ciphertext(void)
{
	static const uint8_t bytes[QUEUED];
	const int size = 2 * QUEUED;

	assert_int_equal(setsockopt(client_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	assert_int_equal(send(client_fd, bytes, sizeof(bytes), 0), sizeof(bytes));
}

static void the_server_ends(void **state)
{
	int fds[2];

	(void)state;
	shake_hands();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	client_fd = fds[1];
	queue_ciphertext();
	session = session_new(fds[0], &one.export, (struct dialect){ 0 }, "test", NULL, 0);
	assert_non_null(session);
	session_secure(session, stream);
	session_belong(session, one_worker_admit(&one));
	received = session->in.op.done;
	session->in.op.done = receive;
	one_worker_serve(&one, session);
	one_worker_is_idle(&one);
	assert_int_equal(receives, 3);
	gnutls_deinit(client.session);
	gnutls_psk_free_client_credentials(client.psk);
}

static int setup(void **state)
{
	struct tls_settings settings = { .mode = TLS_ON, .psk = key_file };
	FILE *file = fdopen(mkstemp(key_file), "w");
	char why[256];

	(void)state;
	fprintf(file, "bob:30313233343536373839616263646566\n");
	fclose(file);
	one_worker_begin(&one, DISK);
	return tls_open(&tls, &settings, why, sizeof(why));
}

static int teardown(void **state)
{
	(void)state;
	tls_close(&tls);
	unlink(key_file);
	disk_free(one.disk.below);
	buffer_pool_fini(&one.worker.buffers);
	request_pool_fini(&one.worker.requests);
	uring_fini(&one.worker.ring);
	receive_pool_fini(&one.worker.receives);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(the_server_ends) };

	return cmocka_run_group_tests(tests, setup, teardown);
}
