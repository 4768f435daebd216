/* A TLS stream works in whatever pieces its bytes come, and through new keys; what is no TLS, or asks to negotiate again,
 * ends it.
 * If this fails, a connection hangs or breaks by chance of the network, or a client gets another name in the middle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <errno.h>
#include <gnutls/gnutls.h>

#include "server/limits.h"
#include "server/tls_session.h"
#include "server/tls_stream.h"

static char key_file[] = "/tmp/vnbd-psk.XXXXXX";
static const uint8_t key[16] = "0123456789abcdef";
static struct tls tls;

/* The client: GnuTLS over two pipes of bytes. */
static struct {
	gnutls_session_t session;
	gnutls_psk_client_credentials_t psk;
	uint8_t to_server[1 << 20], to_client[1 << 20];
	size_t server_start, server_end, client_start, client_end;
} client;

static struct tls_stream *stream;
static struct identity who;
static bool by_record;
static unsigned client_takes; /* bytes of a record; 0: the usual */

static ssize_t client_pull(gnutls_transport_ptr_t pointer, void *bytes, size_t length)
{
	size_t here = client.client_end - client.client_start;

	(void)pointer;
	if (here == 0) {
		gnutls_transport_set_errno(client.session, EAGAIN);
		return -1;
	}
	if (length > here)
		length = here;
	memcpy(bytes, client.to_client + client.client_start, length);
	client.client_start += length;
	return (ssize_t)length;
}

static ssize_t client_push(gnutls_transport_ptr_t pointer, const void *bytes, size_t length)
{
	(void)pointer;
	assert_true(client.server_end + length <= sizeof(client.to_server));
	memcpy(client.to_server + client.server_end, bytes, length);
	client.server_end += length;
	return (ssize_t)length;
}

static void drain_server(void)
{
	struct iovec out = tls_stream_out(stream);

	assert_true(client.client_end + out.iov_len <= sizeof(client.to_client));
	memcpy(client.to_client + client.client_end, out.iov_base, out.iov_len);
	client.client_end += out.iov_len;
	tls_stream_sent(stream, out.iov_len);
}

/* Up to @most bytes of what the client wrote. Returns whether there were any. */
static bool feed_server(size_t most)
{
	struct iovec space = tls_stream_space(stream);
	size_t length = client.server_end - client.server_start;

	if (length > most)
		length = most;
	if (length > space.iov_len)
		length = space.iov_len;
	memcpy(space.iov_base, client.to_server + client.server_start, length);
	tls_stream_received(stream, length);
	client.server_start += length;
	if (client.server_start == client.server_end)
		client.server_start = client.server_end = 0;
	return length > 0;
}

static void shake_hands(const char *priority, size_t piece)
{
	const gnutls_datum_t secret = { (unsigned char *)key, sizeof(key) };
	const char *why = NULL;
	int server = -EAGAIN, ours = GNUTLS_E_AGAIN;

	client.server_start = client.server_end = client.client_start = client.client_end = 0;
	stream = tls_stream_new(tls.credentials);
	assert_non_null(stream);
	tls_stream_by_record(stream, by_record);
	gnutls_init(&client.session, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
	if (client_takes)
		assert_int_equal(gnutls_record_set_max_recv_size(client.session, client_takes), 0);
	gnutls_psk_allocate_client_credentials(&client.psk);
	gnutls_psk_set_client_credentials(client.psk, "bob", &secret, GNUTLS_PSK_KEY_RAW);
	assert_int_equal(gnutls_priority_set_direct(client.session, priority, NULL), 0);
	gnutls_credentials_set(client.session, GNUTLS_CRD_PSK, client.psk);
	gnutls_transport_set_pull_function(client.session, client_pull);
	gnutls_transport_set_push_function(client.session, client_push);
	for (int i = 0; i < 10000 && (server == -EAGAIN || ours == GNUTLS_E_AGAIN); i++) {
		if (ours == GNUTLS_E_AGAIN)
			ours = gnutls_handshake(client.session);
		if (!feed_server(piece) && server == 0)
			continue;
		if (server == -EAGAIN)
			server = tls_stream_handshake(stream, &who, &why);
		drain_server();
	}
	assert_int_equal(server, 0);
	assert_int_equal(ours, 0);
	assert_true(who.tls);
	assert_string_equal(who.psk_user, "bob");
}

static void part(void)
{
	tls_stream_free(stream);
	gnutls_deinit(client.session);
	gnutls_psk_free_client_credentials(client.psk);
	identity_fini(&who);
}

static const char *const versions[] = {
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+ECDHE-PSK:+DHE-PSK",
	"NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+ECDHE-PSK",
};

static void any_pieces(void **state)
{
	static const size_t pieces[] = { 1, 7, 1000, SIZE_MAX };
	static uint8_t sent[50000], got[sizeof(sent)];

	(void)state;
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (uint8_t)(i * 7 + i / 256);
	for (int v = 0; v < 2; v++) {
		for (size_t p = 0; p < sizeof(pieces) / sizeof(*pieces); p++) {
			size_t length = 0;
			ssize_t read;

			shake_hands(versions[v], pieces[p]);
			for (size_t done = 0; done < sizeof(sent);)
				done += (size_t)gnutls_record_send(
					client.session, sent + done, sizeof(sent) - done);
			while (feed_server(pieces[p])) {
				while ((read = tls_stream_read(stream, got + length, 9999)) > 0)
					length += (size_t)read;
				assert_int_equal(read, -EAGAIN);
			}
			assert_int_equal(length, sizeof(sent));
			assert_memory_equal(got, sent, sizeof(sent));
			part();
		}
	}
}

static void pieces_are_written_together(void **state)
{
	static uint8_t big[40000], got[100000];
	const struct iovec iov[] = { { (void *)"head", 4 }, { big, sizeof(big) }, { (void *)"tail", 4 } };
	struct iovec left[3];
	size_t length = 0, count = 3;
	unsigned records = 0;
	ssize_t read;

	(void)state;
	shake_hands(versions[0], SIZE_MAX);
	memset(big, 'b', sizeof(big));
	memcpy(left, iov, sizeof(left));
	for (struct iovec *next = left; count > 0; records++) {
		size_t taken = (size_t)tls_stream_write(stream, next, count);

		assert_true(taken > 0 && taken <= 16384);
		for (; count > 0 && taken >= next->iov_len; next++, count--)
			taken -= next->iov_len;
		if (count > 0)
			*next = (struct iovec){ (uint8_t *)next->iov_base + taken, next->iov_len - taken };
	}
	assert_int_equal(records, 3);
	drain_server();
	while ((read = gnutls_record_recv(client.session, got + length, sizeof(got) - length)) > 0)
		length += (size_t)read;
	assert_int_equal(length, sizeof(big) + 8);
	assert_memory_equal(got, "headbbbb", 8);
	assert_memory_equal(got + length - 8, "bbbbtail", 8);
	part();
}

static void a_full_buffer_takes_no_more(void **state)
{
	static uint8_t big[16384];
	const struct iovec iov = { big, sizeof(big) };
	size_t total = 0;
	ssize_t taken;

	(void)state;
	shake_hands(versions[0], SIZE_MAX);
	while ((taken = tls_stream_write(stream, &iov, 1)) > 0)
		total += (size_t)taken;
	assert_int_equal(taken, 0);
	assert_true(total > TLS_SEND_BYTES / 2 && total < TLS_SEND_BYTES);
	assert_true(tls_stream_out(stream).iov_len <= TLS_SEND_BYTES);
	drain_server();
	assert_true(tls_stream_write(stream, &iov, 1) > 0);
	part();
}

/* A connection that ends takes nothing more, and yet has to be read until its client has ended it. */
static void what_nobody_takes_is_dropped(void **state)
{
	(void)state;
	shake_hands(versions[0], SIZE_MAX);
	for (int i = 0; i < 3; i++) {
		struct iovec space = tls_stream_space(stream);

		assert_int_equal(space.iov_len, TLS_RECEIVE_BYTES);
		memset(space.iov_base, 'x', space.iov_len);
		tls_stream_received(stream, space.iov_len);
		tls_stream_drop(stream);
	}
	part();
}

static void new_keys_go_unnoticed(void **state)
{
	const struct iovec iov = { (void *)"reply", 5 };
	uint8_t got[16];

	(void)state;
	shake_hands(versions[0], SIZE_MAX);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(gnutls_record_send(client.session, "one", 3), 3);
		assert_int_equal(gnutls_session_key_update(client.session, GNUTLS_KU_PEER), 0);
		assert_int_equal(gnutls_record_send(client.session, "two", 3), 3);
		feed_server(SIZE_MAX);
		assert_int_equal(tls_stream_read(stream, got, sizeof(got)), 3);
		assert_int_equal(tls_stream_read(stream, got, sizeof(got)), 3);
		assert_memory_equal(got, "two", 3);
		assert_int_equal(tls_stream_read(stream, got, sizeof(got)), -EAGAIN);
		assert_int_equal(tls_stream_write(stream, &iov, 1), 5);
		drain_server();
		/* GnuTLS takes the server's new key first. */
		assert_int_equal(gnutls_record_recv(client.session, got, sizeof(got)), GNUTLS_E_AGAIN);
		assert_int_equal(gnutls_record_recv(client.session, got, sizeof(got)), 5);
	}
	part();
}

/* Without a reply in between, so that nothing makes us send. */
static void a_flood_of_keys_ends_it(void **state)
{
	uint8_t got[16];
	ssize_t read = -EAGAIN;

	(void)state;
	shake_hands(versions[0], SIZE_MAX);
	for (int i = 0; i < 1000 && read == -EAGAIN; i++) {
		assert_int_equal(gnutls_session_key_update(client.session, 0), 0);
		feed_server(SIZE_MAX);
		read = tls_stream_read(stream, got, sizeof(got));
	}
	assert_int_equal(read, -EPROTO);
	part();
}

static void negotiating_again_ends_it(void **state)
{
	uint8_t got[16];

	(void)state;
	shake_hands(versions[1], SIZE_MAX);
	assert_int_equal(gnutls_handshake(client.session), GNUTLS_E_AGAIN);
	feed_server(SIZE_MAX);
	assert_int_equal(tls_stream_read(stream, got, sizeof(got)), -EPROTO);
	part();
}

static void the_end_is_told(void **state)
{
	uint8_t got[16];

	(void)state;
	for (int v = 0; v < 2; v++) {
		shake_hands(versions[v], SIZE_MAX);
		gnutls_record_send(client.session, "last", 4);
		gnutls_bye(client.session, GNUTLS_SHUT_WR);
		feed_server(SIZE_MAX);
		assert_int_equal(tls_stream_read(stream, got, sizeof(got)), 4);
		assert_int_equal(tls_stream_read(stream, got, sizeof(got)), 0);
		assert_int_equal(tls_stream_read(stream, got, sizeof(got)), 0);
		tls_stream_end(stream);
		drain_server();
		assert_int_equal(gnutls_record_recv(client.session, got, sizeof(got)), 0);
		part();
	}
}

static void nonsense_ends_it(void **state)
{
	struct iovec space;
	uint8_t got[16];

	(void)state;
	for (int v = 0; v < 2; v++) {
		shake_hands(versions[v], SIZE_MAX);
		space = tls_stream_space(stream);
		memset(space.iov_base, 'n', 1000);
		tls_stream_received(stream, 1000);
		assert_int_equal(tls_stream_read(stream, got, sizeof(got)), -EPROTO);
		assert_int_equal(tls_stream_read(stream, got, sizeof(got)), -EPROTO);
		part();
	}
}

/* All of the client's bytes are there at any time; what is behind a record is left alone. */
static void a_record_at_a_time(void **state)
{
	static const size_t lengths[] = { 1, 3000, 16384 };
	static uint8_t sent[16384], got[sizeof(sent)];

	(void)state;
	by_record = true;
	for (int v = 0; v < 2; v++) {
		shake_hands(versions[v], SIZE_MAX);
		assert_true(tls_stream_is_empty(stream));
		for (int i = 0; i < 3; i++)
			assert_int_equal(gnutls_record_send(client.session, sent, lengths[i]), lengths[i]);
		for (int i = 0; i < 3; i++) {
			ssize_t read;

			while ((read = tls_stream_read(stream, got, sizeof(got))) == -EAGAIN)
				assert_true(feed_server(SIZE_MAX));
			assert_int_equal(read, lengths[i]);
			assert_true(tls_stream_is_empty(stream));
		}
		assert_int_equal(client.server_end, 0);
		gnutls_record_send(client.session, sent, 2);
		feed_server(SIZE_MAX);
		assert_false(tls_stream_is_empty(stream));
		feed_server(SIZE_MAX);
		assert_false(tls_stream_is_empty(stream));
		assert_int_equal(tls_stream_read(stream, got, 1), 1);
		assert_false(tls_stream_is_empty(stream));
		assert_int_equal(tls_stream_read(stream, got, 1), 1);
		assert_true(tls_stream_is_empty(stream));
		part();
	}
	by_record = false;
}

static void small_records_are_noticed(void **state)
{
	(void)state;
	for (int v = 0; v < 2; v++) {
		client_takes = 0;
		shake_hands(versions[v], SIZE_MAX);
		assert_true(tls_stream_takes_large_records(stream));
		part();
		client_takes = 16383;
		shake_hands(versions[v], SIZE_MAX);
		assert_false(tls_stream_takes_large_records(stream));
		part();
	}
	client_takes = 0;
}

static bool aes_is_fast(void)
{
	gnutls_priority_t usual;
	const unsigned *ciphers;
	bool fast;

	assert_int_equal(gnutls_priority_init(&usual, "NORMAL", NULL), 0);
	assert_true(gnutls_priority_cipher_list(usual, &ciphers) > 0);
	fast = ciphers[0] == GNUTLS_CIPHER_AES_256_GCM;
	gnutls_priority_deinit(usual);
	return fast;
}

static gnutls_cipher_algorithm_t cipher_of(const char *priority)
{
	gnutls_cipher_algorithm_t cipher;

	shake_hands(priority, SIZE_MAX);
	cipher = gnutls_cipher_get(client.session);
	part();
	return cipher;
}

/* With a pre-shared key, GnuTLS's clients name ChaCha20 before the only AES that they may have. */
static void the_fast_cipher_is_chosen(void **state)
{
	(void)state;
	if (!aes_is_fast())
		skip();
	assert_int_equal(cipher_of("NORMAL:+ECDHE-PSK:+DHE-PSK"), GNUTLS_CIPHER_AES_128_GCM);
	/* TLS 1.2 has no AES in GCM with these keys, and CBC is none to prefer. */
	assert_int_equal(cipher_of(versions[1]), GNUTLS_CIPHER_CHACHA20_POLY1305);
	assert_int_equal(
		cipher_of("NORMAL:-AES-128-GCM:+ECDHE-PSK:+DHE-PSK"), GNUTLS_CIPHER_CHACHA20_POLY1305);
}

/* OpenSSL's clients send a share for X25519 alone. */
static void nobody_has_to_try_again(void **state)
{
	(void)state;
	shake_hands("NORMAL:+ECDHE-PSK:-GROUP-ALL:+GROUP-SECP384R1:+GROUP-SECP256R1:+GROUP-X25519", SIZE_MAX);
	assert_int_equal(gnutls_group_get(client.session), GNUTLS_GROUP_X25519);
	part();
}

static int make_keys(void **state)
{
	const struct tls_settings settings = { .mode = TLS_REQUIRE, .psk = key_file };
	int fd = mkstemp(key_file), error;
	char text[64] = "bob:", why[256];

	(void)state;
	for (size_t i = 0; i < sizeof(key); i++)
		snprintf(text + strlen(text), 3, "%02x", key[i]);
	error = fd < 0 || write(fd, text, strlen(text)) < 0 || tls_open(&tls, &settings, why, sizeof(why));
	close(fd);
	unlink(key_file);
	return error;
}

static int forget_keys(void **state)
{
	(void)state;
	tls_close(&tls);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_pieces),
		cmocka_unit_test(pieces_are_written_together),
		cmocka_unit_test(a_full_buffer_takes_no_more),
		cmocka_unit_test(what_nobody_takes_is_dropped),
		cmocka_unit_test(new_keys_go_unnoticed),
		cmocka_unit_test(a_flood_of_keys_ends_it),
		cmocka_unit_test(negotiating_again_ends_it),
		cmocka_unit_test(the_end_is_told),
		cmocka_unit_test(nonsense_ends_it),
		cmocka_unit_test(a_record_at_a_time),
		cmocka_unit_test(small_records_are_noticed),
		cmocka_unit_test(the_fast_cipher_is_chosen),
		cmocka_unit_test(nobody_has_to_try_again),
	};

	return cmocka_run_group_tests(tests, make_keys, forget_keys);
}
