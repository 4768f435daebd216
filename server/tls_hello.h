/* server/tls_hello.h -- what a client says in its first message that GnuTLS keeps to itself. */
#pragma once

#include <gnutls/gnutls.h>

/* The largest record, bytes, that the sender of @hello, a ClientHello without its header, wants to be sent, counting in TLS 1.3 the
 * byte that tells the record's type; TLS_RECORD_LIMIT_MOST where it does not say. Bytes that are no ClientHello say nothing: GnuTLS
 * refuses them.
 * Spec: RFC 8449 (record_size_limit), RFC 6066, "Maximum Fragment Length Negotiation". */
unsigned tls_hello_record_limit(const gnutls_datum_t *hello);

#define TLS_RECORD_LIMIT_MOST ((16u << 10) + 1)
