/* server/tls_kernel.c -- gives GnuTLS's keys to the kernel, and looks at what the kernel takes for no data. */
#include "server/tls_kernel.h"

#include <assert.h>
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "server/tls_session.h"
#include "server/tls_stream.h"

enum direction { SENDING, RECEIVING }; /* as gnutls_record_get_state() counts */

enum { TYPE_ALERT = 21, TYPE_HANDSHAKE = 22 };
enum { ALERT_WARNING = 1, ALERT_CLOSE_NOTIFY = 0 };
enum { HANDSHAKE_KEY_UPDATE = 24 };

struct control {
	union {
		struct cmsghdr header;
		uint8_t bytes[CMSG_SPACE(sizeof(uint8_t))];
	};
};

/* Each of the kernel's structures is info, iv, key, salt and rec_seq, of these lengths, without gaps. */
static const struct cipher {
	gnutls_cipher_algorithm_t gnutls;
	uint16_t kernel;
	uint8_t iv, key, salt;
	bool lasts; /* in TLS 1.3, where keys may change: GnuTLS does not change them by itself */
} ciphers[] = {
	{ GNUTLS_CIPHER_AES_128_GCM, TLS_CIPHER_AES_GCM_128, 8, 16, 4, false },
	{ GNUTLS_CIPHER_AES_256_GCM, TLS_CIPHER_AES_GCM_256, 8, 32, 4, false },
	{ GNUTLS_CIPHER_CHACHA20_POLY1305, TLS_CIPHER_CHACHA20_POLY1305, 12, 32, 0, true },
};
enum { CIPHERS = sizeof(ciphers) / sizeof(ciphers[0]) };

#define SEQUENCE 8
static_assert(sizeof(struct tls12_crypto_info_aes_gcm_128) == 4 + 8 + 16 + 4 + SEQUENCE, "no gaps");
static_assert(sizeof(struct tls12_crypto_info_aes_gcm_256) == 4 + 8 + 32 + 4 + SEQUENCE, "no gaps");
static_assert(sizeof(struct tls12_crypto_info_chacha20_poly1305) == 4 + 12 + 32 + 0 + SEQUENCE, "no gaps");

/* A key in the kernel's form. */
struct key {
	uint8_t bytes[sizeof(struct tls12_crypto_info_aes_gcm_256)];
	socklen_t length;
};
static_assert(
	sizeof(struct tls12_crypto_info_aes_gcm_256) >= sizeof(struct tls12_crypto_info_chacha20_poly1305),
	"");

static void key_add(struct key *key, const void *bytes, size_t length)
{
	assert(length <= sizeof(key->bytes) - key->length);
	memcpy(key->bytes + key->length, bytes, length);
	key->length += (socklen_t)length;
}

static int set_key(int fd, enum direction direction, const struct key *key)
{
	return setsockopt(fd, SOL_TLS, direction == SENDING ? TLS_TX : TLS_RX, key->bytes, key->length)
		       ? -errno
		       : 0;
}

static const struct cipher *find_cipher(gnutls_session_t session)
{
	gnutls_cipher_algorithm_t cipher = gnutls_cipher_get(session);

	for (int i = 0; i < CIPHERS; i++)
		if (ciphers[i].gnutls == cipher)
			return &ciphers[i];
	return NULL;
}

/* 0: a version that the kernel does not know. */
static uint16_t kernel_version(gnutls_session_t session)
{
	switch (gnutls_protocol_get_version(session)) {
	case GNUTLS_TLS1_2:
		return TLS_1_2_VERSION;
	case GNUTLS_TLS1_3:
		return TLS_1_3_VERSION;
	default:
		return 0;
	}
}

/* The key that GnuTLS has now. Returns 0 or -errno. */
static int install(gnutls_session_t session, int fd, enum direction direction)
{
	const struct cipher *cipher = find_cipher(session);
	struct tls_crypto_info info = { .version = kernel_version(session), .cipher_type = cipher->kernel };
	gnutls_datum_t nonce, secret;
	uint8_t sequence[SEQUENCE];
	struct key key = { .length = 0 };
	int error;

	if (gnutls_record_get_state(session, direction, NULL, &nonce, &secret, sequence) < 0)
		return -EINVAL;
	if (secret.size != cipher->key || nonce.size < cipher->salt)
		return -EINVAL;
	key_add(&key, &info, sizeof(info));
	/* In TLS 1.2 the nonce of AES is but the salt; GnuTLS sends the sequence number for the rest of it. */
	if (nonce.size == (unsigned)cipher->salt + cipher->iv)
		key_add(&key, nonce.data + cipher->salt, cipher->iv);
	else
		key_add(&key, sequence, sizeof(sequence));
	key_add(&key, secret.data, secret.size);
	key_add(&key, nonce.data, cipher->salt);
	key_add(&key, sequence, sizeof(sequence));
	error = set_key(fd, direction, &key);
	gnutls_memset(&key, 0, sizeof(key));
	return error;
}

/* Probing. */

static int attach(int fd)
{
	return setsockopt(fd, SOL_TCP, TCP_ULP, "tls", sizeof("tls")) ? -errno : 0;
}

/* A connection to nobody: the kernel takes keys for nothing less. Returns 0 or -errno. */
static int connect_to_ourselves(int listener, int fd)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);

	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1) ||
		getsockname(listener, (struct sockaddr *)&address, &length) ||
		connect(fd, (struct sockaddr *)&address, length))
		return -errno;
	return 0;
}

/* On a connection where nothing is ever sent. */
static int try_key(int fd, const char **missing)
{
	const struct tls_crypto_info info = { TLS_1_2_VERSION, TLS_CIPHER_AES_GCM_128 };
	struct key key = { .length = sizeof(struct tls12_crypto_info_aes_gcm_128) };
	int error = attach(fd);

	*missing = "TLS";
	if (error)
		return error;
	*missing = "AES in GCM for TLS";
	memcpy(key.bytes, &info, sizeof(info));
	return set_key(fd, SENDING, &key);
}

int tls_kernel_probe(const char **missing)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int error = listener < 0 || fd < 0 ? -errno : connect_to_ourselves(listener, fd);

	*missing = "connection to try TLS on";
	if (error == 0)
		error = try_key(fd, missing);
	if (listener >= 0)
		close(listener);
	if (fd >= 0)
		close(fd);
	return error;
}

/* What is no data. */

void tls_kernel_end(int fd)
{
	uint8_t alert[] = { ALERT_WARNING, ALERT_CLOSE_NOTIFY }, type = TYPE_ALERT;
	struct iovec iov = { alert, sizeof(alert) };
	struct control control = { .header = { .cmsg_len = CMSG_LEN(sizeof(type)),
					   .cmsg_level = SOL_TLS,
					   .cmsg_type = TLS_SET_RECORD_TYPE } };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};

	*CMSG_DATA(&control.header) = type;
	sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Returns as tls_kernel_received(). */
static int take_alert(const uint8_t *alert, size_t length)
{
	if (length == 2 && alert[1] == ALERT_CLOSE_NOTIFY)
		return 0;
	return length == 2 && alert[0] == ALERT_WARNING ? -EAGAIN : -EPROTO;
}

/* The record that is no data: the kernel has decrypted it, and holds it until it is asked of what type it is. */
static int take_oddity(int fd)
{
	uint8_t bytes[64];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct control control = { .header.cmsg_len = 0 };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT);

	if (got <= 0 || message.msg_controllen == 0 || control.header.cmsg_level != SOL_TLS ||
		control.header.cmsg_type != TLS_GET_RECORD_TYPE)
		return -EPROTO;
	switch (*CMSG_DATA(&control.header)) {
	case TYPE_ALERT:
		return take_alert(bytes, (size_t)got);
	case TYPE_HANDSHAKE:
		return bytes[0] == HANDSHAKE_KEY_UPDATE ? -EKEYREJECTED : -EPROTO;
	default:
		return -EPROTO;
	}
}

int tls_kernel_received(int fd, int error)
{
	switch (error) {
	case -EIO:
		return take_oddity(fd);
	case -EBADMSG:	/* not authentic */
	case -EMSGSIZE: /* too long */
	case -EINVAL:	/* of another version, or no record at all */
		return -EPROTO;
	default:
		return error;
	}
}

/* The beginning. */

static bool is_fit(const struct tls_stream *stream)
{
	gnutls_session_t session = tls_stream_session(stream);
	const struct cipher *cipher = find_cipher(session);
	uint16_t version = kernel_version(session);

	if (!cipher || version == 0 || (version == TLS_1_3_VERSION && !cipher->lasts))
		return false;
	return tls_stream_takes_large_records(stream) && tls_stream_is_empty(stream);
}

/* Then the kernel decrypts into our buffers. No client that we know pads its records; one that is padded it decrypts twice. */
static void expect_no_padding(int fd)
{
	int on = 1;

	setsockopt(fd, SOL_TLS, TLS_RX_EXPECT_NO_PAD, &on, sizeof(on));
}

int tls_kernel_take(const struct tls_stream *stream, int fd, bool *taken)
{
	gnutls_session_t session = tls_stream_session(stream);
	int error;

	/* Until a key is set, the socket stays a plain one. */
	*taken = is_fit(stream) && attach(fd) == 0 && install(session, fd, SENDING) == 0;
	if (!*taken)
		return 0;
	error = install(session, fd, RECEIVING);
	if (error)
		return error;
	expect_no_padding(fd);
	return 0;
}
