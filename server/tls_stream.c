/* server/tls_stream.c -- GnuTLS between two buffers.
 *
 * T1  in.bytes[start..end) is what GnuTLS has not taken: it takes all it is offered, so what stays there while it waits
 *     is nothing, and what it keeps itself is part of a record.
 * T2  out.bytes[start..end) may be the kernel's: it only grows, and starts anew when all of it has left.
 * T3  By record, what was received ends within one record, header.length bytes of whose header are known, and all but body_left of
 *     whose body. */
#include "server/tls_stream.h"

#include <assert.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

#include "server/limits.h"
#include "server/tls_credentials.h"
#include "server/tls_hello.h"
#include "server/tls_identity.h"
#include "server/tls_session.h"

/* Plaintext of a record: RFC 8446, section 5.1. */
#define RECORD_BYTES (16u << 10)

/* Of a record: its type, its version, and the length of what follows. */
#define HEADER_BYTES 5

/* What one record may take in out, with its overhead and a key update in front of it. */
#define RECORD_ROOM (RECORD_BYTES + 4096)

static_assert(TLS_SEND_BYTES >= 2 * RECORD_ROOM, "an empty buffer takes a record");

struct tls_stream {
	gnutls_session_t session;	     /* owned */
	struct tls_credentials *credentials; /* counted */
	unsigned record_limit;		     /* the client's: tls_hello_record_limit() */
	struct {
		bool on;
		uint8_t header[HEADER_BYTES];
		size_t header_length, body_left;
	} by_record;
	struct {
		size_t start, end;
		uint8_t bytes[TLS_RECEIVE_BYTES];
	} in;
	struct {
		size_t start, end;
		uint8_t bytes[TLS_SEND_BYTES];
	} out;
};

/* GnuTLS's side. */

static ssize_t pull(gnutls_transport_ptr_t pointer, void *bytes, size_t length)
{
	struct tls_stream *stream = pointer;
	size_t here = stream->in.end - stream->in.start;

	if (here == 0) {
		gnutls_transport_set_errno(stream->session, EAGAIN);
		return -1;
	}
	if (length > here)
		length = here;
	memcpy(bytes, stream->in.bytes + stream->in.start, length);
	stream->in.start += length;
	return (ssize_t)length;
}

static ssize_t push(gnutls_transport_ptr_t pointer, const void *bytes, size_t length)
{
	struct tls_stream *stream = pointer;
	size_t room = TLS_SEND_BYTES - stream->out.end;

	if (room == 0) {
		gnutls_transport_set_errno(stream->session, EAGAIN);
		return -1;
	}
	if (length > room)
		length = room;
	memcpy(stream->out.bytes + stream->out.end, bytes, length);
	stream->out.end += length;
	return (ssize_t)length;
}

static int on_hello(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
	const gnutls_datum_t *hello)
{
	struct tls_stream *stream = gnutls_transport_get_ptr(session);

	(void)type;
	(void)when;
	(void)incoming;
	stream->record_limit = tls_hello_record_limit(hello);
	return 0;
}

static int set_up(struct tls_stream *stream)
{
	const struct tls_credentials *credentials = stream->credentials;
	gnutls_session_t session = stream->session;
	int code = gnutls_priority_set(session, credentials->priority);

	if (code >= 0 && credentials->certificates)
		code = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials->certificates);
	if (code >= 0 && credentials->psk)
		code = gnutls_credentials_set(session, GNUTLS_CRD_PSK, credentials->psk);
	if (credentials->verify_peer)
		gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUIRE);
	gnutls_session_set_ptr(session, stream->credentials);
	gnutls_transport_set_ptr(session, stream);
	gnutls_transport_set_pull_function(session, pull);
	gnutls_transport_set_push_function(session, push);
	gnutls_handshake_set_hook_function(
		session, GNUTLS_HANDSHAKE_CLIENT_HELLO, GNUTLS_HOOK_POST, on_hello);
	return code;
}

struct tls_stream *tls_stream_new(struct tls_credentials *credentials)
{
	/* Not calloc(): the buffers take memory only as far as they are used. */
	struct tls_stream *stream = malloc(sizeof(*stream));

	if (!stream)
		return NULL;
	stream->in.start = stream->in.end = stream->out.start = stream->out.end = 0;
	stream->record_limit = 0;
	memset(&stream->by_record, 0, sizeof(stream->by_record));
	/* Without tickets every connection proves who it is against the credentials of its day. */
	if (gnutls_init(&stream->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS) < 0) {
		free(stream);
		return NULL;
	}
	stream->credentials = tls_credentials_get(credentials);
	if (set_up(stream) < 0) {
		tls_stream_free(stream);
		return NULL;
	}
	return stream;
}

void tls_stream_free(struct tls_stream *stream)
{
	if (!stream)
		return;
	gnutls_deinit(stream->session);
	tls_credentials_put(stream->credentials);
	free(stream);
}

/* The socket's side. */

void tls_stream_by_record(struct tls_stream *stream, bool by_record)
{
	stream->by_record.on = by_record;
}

/* Bytes to the end of the record or of its header. */
static size_t record_rest(const struct tls_stream *stream)
{
	size_t header_left = HEADER_BYTES - stream->by_record.header_length;

	return header_left > 0 ? header_left : stream->by_record.body_left;
}

/* @length more bytes of it, no more than that. */
static void follow_record(struct tls_stream *stream, const uint8_t *bytes, size_t length)
{
	uint8_t *header = stream->by_record.header;

	assert(length <= record_rest(stream));
	if (stream->by_record.header_length == HEADER_BYTES) {
		stream->by_record.body_left -= length;
	} else {
		memcpy(header + stream->by_record.header_length, bytes, length);
		stream->by_record.header_length += length;
		stream->by_record.body_left = (size_t)header[3] << 8 | header[4];
	}
	if (record_rest(stream) == 0)
		stream->by_record.header_length = 0;
}

struct iovec tls_stream_space(struct tls_stream *stream)
{
	size_t left = stream->in.end - stream->in.start, space = TLS_RECEIVE_BYTES - left;

	if (stream->in.start > 0)
		memmove(stream->in.bytes, stream->in.bytes + stream->in.start, left);
	stream->in.start = 0;
	stream->in.end = left;
	assert(left < TLS_RECEIVE_BYTES);
	if (stream->by_record.on && record_rest(stream) < space)
		space = record_rest(stream);
	return (struct iovec){ stream->in.bytes + left, space };
}

void tls_stream_received(struct tls_stream *stream, size_t length)
{
	assert(length <= TLS_RECEIVE_BYTES - stream->in.end);
	if (stream->by_record.on)
		follow_record(stream, stream->in.bytes + stream->in.end, length);
	stream->in.end += length;
}

void tls_stream_drop(struct tls_stream *stream)
{
	stream->in.start = stream->in.end = 0;
}

struct iovec tls_stream_out(const struct tls_stream *stream)
{
	return (struct iovec){ (uint8_t *)stream->out.bytes + stream->out.start,
		stream->out.end - stream->out.start };
}

void tls_stream_sent(struct tls_stream *stream, size_t length)
{
	assert(length <= stream->out.end - stream->out.start);
	stream->out.start += length;
	if (stream->out.start == stream->out.end)
		stream->out.start = stream->out.end = 0;
}

/* Somebody else's side. */

gnutls_session_t tls_stream_session(const struct tls_stream *stream)
{
	return stream->session;
}

bool tls_stream_is_empty(const struct tls_stream *stream)
{
	return stream->by_record.on && stream->by_record.header_length == 0 &&
	       stream->in.start == stream->in.end && stream->out.start == stream->out.end &&
	       gnutls_record_check_pending(stream->session) == 0;
}

bool tls_stream_takes_large_records(const struct tls_stream *stream)
{
	bool counts_type = gnutls_protocol_get_version(stream->session) == GNUTLS_TLS1_3;

	return stream->record_limit >= RECORD_BYTES + counts_type;
}

/* The owner's side. */

static bool is_passing(ssize_t code)
{
	return code == GNUTLS_E_INTERRUPTED || code == GNUTLS_E_WARNING_ALERT_RECEIVED;
}

int tls_stream_handshake(struct tls_stream *stream, struct identity *who, const char **why)
{
	int code;

	do
		code = gnutls_handshake(stream->session);
	while (is_passing(code));
	if (code == GNUTLS_E_AGAIN)
		return -EAGAIN;
	if (code >= 0)
		code = tls_identify(stream->session, stream->credentials->verify_peer, who);
	if (code >= 0)
		return 0;
	*why = gnutls_strerror(code);
	gnutls_alert_send_appropriate(stream->session, code);
	return -EPROTO;
}

ssize_t tls_stream_read(struct tls_stream *stream, void *bytes, size_t length)
{
	size_t before;
	ssize_t got;

	/* GnuTLS says "again" also when it has taken a record that was for itself: a new key, for one. */
	do {
		before = stream->in.start;
		got = gnutls_record_recv(stream->session, bytes, length);
	} while (is_passing(got) ||
		 (got == GNUTLS_E_AGAIN && stream->in.start > before && stream->in.start < stream->in.end));
	if (got >= 0)
		return got;
	return got == GNUTLS_E_AGAIN && stream->in.start == stream->in.end ? -EAGAIN : -EPROTO;
}

static size_t gather(const struct iovec *iov, size_t count, uint8_t out[RECORD_BYTES])
{
	size_t length = 0;

	for (size_t i = 0; i < count && length < RECORD_BYTES; i++) {
		size_t here = iov[i].iov_len;

		if (here > RECORD_BYTES - length)
			here = RECORD_BYTES - length;
		memcpy(out + length, iov[i].iov_base, here);
		length += here;
	}
	return length;
}

/* A record costs as much as a few KiB in it, so small pieces share one. */
ssize_t tls_stream_write(struct tls_stream *stream, const struct iovec *iov, size_t count)
{
	uint8_t together[RECORD_BYTES];
	struct iovec record = iov[0];
	ssize_t sent;

	if (TLS_SEND_BYTES - stream->out.end < RECORD_ROOM)
		return 0;
	if (record.iov_len < RECORD_BYTES && count > 1)
		record = (struct iovec){ together, gather(iov, count, together) };
	sent = gnutls_record_send(stream->session, record.iov_base, record.iov_len);
	return sent > 0 ? sent : -EPROTO;
}

void tls_stream_end(struct tls_stream *stream)
{
	gnutls_bye(stream->session, GNUTLS_SHUT_WR);
}
