/* server/tls_session.h -- GnuTLS's side of a stream, for server/tls*.c alone: the rest of the server sees no GnuTLS. */
#pragma once

#include <gnutls/gnutls.h>

#include "server/tls_stream.h"

/* The stream's, and the stream's to end. */
gnutls_session_t tls_stream_session(const struct tls_stream *stream);

/* Whether the stream holds nothing of what the client sent, neither ciphertext nor plaintext, and nothing that has to be sent; so
 * that somebody else may go on with its keys. */
bool tls_stream_is_empty(const struct tls_stream *stream);

/* Whether the client takes records as large as they usually may be. */
bool tls_stream_takes_large_records(const struct tls_stream *stream);
