/* tests/tools/tls-exercise.c -- an NBD client over TLS, by GnuTLS alone, that also does what none in the wild does: change keys when it
 * likes, hang up half-way, and send what is no TLS.
 *
 *	tls-exercise PORT KEY PRIORITY ENDING
 *
 * PORT: of 127.0.0.1. KEY: of user bob, hexadecimal. PRIORITY: GnuTLS's, to which the key exchanges are added.
 * It writes and reads in pieces of all sizes, many in flight, and verifies. Then ENDING:
 *	disconnect	NBD_CMD_DISC; the server has to tell its end (close_notify), as with the next one
 *	bye		close_notify in place of that; before, it asks for more than sockets hold, and takes nothing for a while
 *	tamper		a record of the right form that is not authentic; the server has to hang up
 *	garbage		bytes that are no record; likewise
 *	refused		a new key, to a server that cannot take one; likewise
 *	renegotiate	a message of a handshake that is over; likewise
 * "keys" before any of them, as in keys-disconnect: change keys.
 *
 * Exit status: 0: all was right; 1: not, and standard error says what.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/nbd_wire.h"

#define EXCHANGES ":+ECDHE-PSK:+DHE-PSK"
#define AREA	  (1u << 20)
#define REQUESTS  27u

static int fd;
static gnutls_session_t session;
static bool changes_keys;
static uint8_t disk[AREA], bytes[AREA];

static void fail(const char *what)
{
	fprintf(stderr, "tls-exercise: %s\n", what);
	exit(1);
}

static void check(int code, const char *what)
{
	if (code >= 0)
		return;
	fprintf(stderr, "tls-exercise: %s: %s\n", what, gnutls_strerror(code));
	exit(1);
}

/* Plaintext, and then TLS. */

static void say(const void *data, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t sent =
			session ? gnutls_record_send(session, (const uint8_t *)data + done, length - done)
				: send(fd, (const uint8_t *)data + done, length - done, MSG_NOSIGNAL);

		if (sent <= 0)
			fail("the server does not listen");
		done += (size_t)sent;
	}
}

static void hear(void *data, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t got = session ? gnutls_record_recv(session, (uint8_t *)data + done, length - done)
				      : recv(fd, (uint8_t *)data + done, length - done, 0);

		/* It has taken a new key. */
		if (session && got == GNUTLS_E_AGAIN)
			continue;
		if (session && got < 0)
			check((int)got, "the server's record");
		if (got <= 0)
			fail("the server says nothing");
		done += (size_t)got;
	}
}

static void say_option(uint32_t number, const void *data, uint32_t length)
{
	struct nbd_option_header header = {
		.magic = htobe64(NBD_OPTION_MAGIC), .option = htobe32(number), .length = htobe32(length)
	};

	say(&header, sizeof(header));
	if (length > 0)
		say(data, length);
}

/* Up to the ACK. */
static void hear_option(void)
{
	struct nbd_option_reply_header header;
	uint8_t data[4096];

	do {
		hear(&header, sizeof(header));
		if (be32toh(header.type) >> 31 || be32toh(header.length) > sizeof(data))
			fail("an option is refused");
		hear(data, be32toh(header.length));
	} while (be32toh(header.type) != NBD_REP_ACK);
}

static void dial(const char *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(port)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	uint32_t flags = htobe32(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
	uint8_t greeting[18];

	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		fail(strerror(errno));
	hear(greeting, sizeof(greeting));
	say(&flags, sizeof(flags));
	say_option(NBD_OPT_STARTTLS, NULL, 0);
	hear_option();
}

static void secure(const char *key, const char *priority)
{
	gnutls_datum_t secret = { (unsigned char *)key, (unsigned)strlen(key) };
	gnutls_psk_client_credentials_t psk;
	gnutls_session_t made;
	char text[256];

	snprintf(text, sizeof(text), "%s" EXCHANGES, priority);
	check(gnutls_init(&made, GNUTLS_CLIENT), "init");
	check(gnutls_psk_allocate_client_credentials(&psk), "credentials");
	check(gnutls_psk_set_client_credentials(psk, "bob", &secret, GNUTLS_PSK_KEY_HEX), "key");
	check(gnutls_priority_set_direct(made, text, NULL), "priority");
	check(gnutls_credentials_set(made, GNUTLS_CRD_PSK, psk), "credentials");
	gnutls_transport_set_int(made, fd);
	check(gnutls_handshake(made), "handshake");
	session = made;
	printf("%s %s\n", gnutls_protocol_get_name(gnutls_protocol_get_version(session)),
		gnutls_cipher_get_name(gnutls_cipher_get(session)));
}

/* Requests. */

static void say_request(uint16_t type, uint64_t cookie, uint64_t offset, uint32_t length)
{
	struct nbd_request_header header = { .magic = htobe32(NBD_REQUEST_MAGIC),
		.type = htobe16(type),
		.cookie = htobe64(cookie),
		.offset = htobe64(offset),
		.length = htobe32(length) };

	say(&header, sizeof(header));
}

static uint64_t hear_reply(void)
{
	struct {
		uint32_t magic, error;
		uint64_t cookie;
	} header;

	hear(&header, sizeof(header));
	if (be32toh(header.magic) != NBD_SIMPLE_REPLY_MAGIC || header.error != 0) {
		fprintf(stderr, "tls-exercise: magic %08x, error %u\n", be32toh(header.magic),
			be32toh(header.error));
		exit(1);
	}
	return be64toh(header.cookie);
}

static uint64_t random_below(uint64_t most)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % most;
}

/* Of request @i: from one byte to many records. */
static uint32_t length_of(unsigned i)
{
	static const uint32_t lengths[] = { 1, 512, 4096, 16383, 16384, 16385, 65536, 100001, 200000 };

	return lengths[i % (sizeof(lengths) / sizeof(*lengths))];
}

static void change_key(int flags)
{
	if (changes_keys)
		check(gnutls_session_key_update(session, flags), "a new key");
}

static void write_all(void)
{
	for (unsigned i = 0; i < REQUESTS; i++) {
		uint32_t length = length_of(i);
		uint64_t offset = random_below(AREA - length);

		for (uint32_t n = 0; n < length; n++)
			disk[offset + n] = (uint8_t)(random_below(251) + n);
		say_request(NBD_CMD_WRITE, i, offset, length);
		say(disk + offset, length);
		if (i % 9 == 5)
			change_key(0);
		hear_reply();
	}
}

/* All are asked first, and answered in any order. */
static void read_some(uint32_t most)
{
	uint64_t offsets[REQUESTS];
	uint32_t lengths[REQUESTS];

	for (unsigned i = 0; i < REQUESTS; i++) {
		lengths[i] = length_of(i) < most ? length_of(i) : most;
		offsets[i] = random_below(AREA - lengths[i]);
		say_request(NBD_CMD_READ, i, offsets[i], lengths[i]);
		if (i % 9 == 8)
			change_key(GNUTLS_KU_PEER);
	}
	for (unsigned i = 0; i < REQUESTS; i++) {
		uint64_t cookie = hear_reply();

		if (cookie >= REQUESTS)
			fail("a reply to nothing");
		hear(bytes, lengths[cookie]);
		if (memcmp(bytes, disk + offsets[cookie], lengths[cookie]) != 0)
			fail("what was read is not what was written");
	}
}

/* More than any socket holds, before any of it is taken. */
static void stall(void)
{
	enum { READS = 40, LENGTH = 256 << 10 };

	for (unsigned i = 0; i < READS; i++)
		say_request(NBD_CMD_READ, i, i * 1000, LENGTH);
	for (unsigned i = 0; i < READS; i++) {
		uint64_t cookie = hear_reply();

		hear(bytes, LENGTH);
		if (memcmp(bytes, disk + cookie * 1000, LENGTH) != 0)
			fail("what was read late is not what was written");
	}
}

/* Endings. */

static void expect_end(void)
{
	ssize_t got;

	do
		got = gnutls_record_recv(session, bytes, sizeof(bytes));
	while (got == GNUTLS_E_AGAIN);
	check((int)got, "the server's end");
	if (got > 0)
		fail("more than the end");
	if (recv(fd, bytes, 1, 0) != 0)
		fail("the connection goes on");
}

static void expect_hang_up(void)
{
	while (recv(fd, bytes, sizeof(bytes), 0) > 0)
		;
}

static void disconnect(void)
{
	say_request(NBD_CMD_DISC, 0, 0, 0);
	expect_end();
}

static void bye(void)
{
	check(gnutls_bye(session, GNUTLS_SHUT_WR), "bye");
	expect_end();
}

static void tamper(void)
{
	uint8_t record[5 + 100] = { 23, 3, 3, 0, 100 };

	if (send(fd, record, sizeof(record), MSG_NOSIGNAL) < 0)
		fail(strerror(errno));
	expect_hang_up();
}

static void garbage(void)
{
	if (send(fd, "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL) < 0)
		fail(strerror(errno));
	expect_hang_up();
}

/* In TLS 1.2, GnuTLS asks for a new handshake; in 1.3 it knows none. */
static void renegotiate(void)
{
	if (gnutls_protocol_get_version(session) != GNUTLS_TLS1_2)
		fail("only TLS 1.2 renegotiates");
	if (gnutls_handshake(session) >= 0)
		fail("a new handshake in the middle");
	expect_hang_up();
}

/* Where the kernel makes the records. */
static void refused(void)
{
	check(gnutls_session_key_update(session, 0), "a new key");
	expect_hang_up();
}

static const struct {
	const char *name;
	void (*run)(void);
} endings[] = { { "disconnect", disconnect }, { "bye", bye }, { "tamper", tamper }, { "garbage", garbage },
	{ "renegotiate", renegotiate }, { "refused", refused } };

int main(int argc, char **argv)
{
	uint8_t go[6] = { 0 };

	if (argc != 5)
		fail("PORT KEY PRIORITY ENDING");
	changes_keys = strncmp(argv[4], "keys-", 5) == 0;
	dial(argv[1]);
	secure(argv[2], argv[3]);
	/* The first requests behind the option, so that some come before their session. */
	say_option(NBD_OPT_GO, go, sizeof(go));
	say_request(NBD_CMD_READ, 1, 0, 65536);
	say_request(NBD_CMD_READ, 1, 0, 1);
	hear_option();
	hear_reply();
	hear(bytes, 65536);
	hear_reply();
	hear(bytes, 1);
	memset(disk, 0, sizeof(disk));
	write_all();
	read_some(4096);
	read_some(AREA);
	if (strstr(argv[4], "bye"))
		stall();
	for (unsigned i = 0; i < sizeof(endings) / sizeof(*endings); i++) {
		if (strcmp(argv[4] + (changes_keys ? 5 : 0), endings[i].name) != 0)
			continue;
		endings[i].run();
		return 0;
	}
	fail("no such ending");
}
