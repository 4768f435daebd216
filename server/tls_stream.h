/* server/tls_stream.h -- one TLS connection between bytes and bytes: no socket here, and nothing waits.
 *
 *   socket --received--> in (ciphertext) --read--> plaintext
 *   socket <---sent----- out (ciphertext) <--write-- plaintext
 *
 * The owner moves the ciphertext. It begins on the main thread and is then a worker's: one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "server/access.h"
#include "server/tls.h"

struct tls_stream;

/* The server's end, before its handshake; holds @credentials. NULL without memory. */
struct tls_stream *tls_stream_new(struct tls_credentials *credentials);
void tls_stream_free(struct tls_stream *stream);

/* Where the next ciphertext of the socket goes, never empty; may move what is left of earlier ones. The space stays
 * where it is until tls_stream_received() or the next call of this. */
struct iovec tls_stream_space(struct tls_stream *stream);
void tls_stream_received(struct tls_stream *stream, size_t length);

/* What was received and is not decrypted never will be. */
void tls_stream_drop(struct tls_stream *stream);

/* Ciphertext that has to leave, until tls_stream_sent() says that it did: it stays in its place, whatever is written
 * meanwhile. Empty: nothing. */
struct iovec tls_stream_out(const struct tls_stream *stream);
void tls_stream_sent(struct tls_stream *stream, size_t length);

/* tls_stream_space() ends where a record does, from the first byte on, so that what follows stays in the socket for somebody
 * else; or no more. It costs a receive or two a record. */
void tls_stream_by_record(struct tls_stream *stream, bool by_record);

/* tls_stream_handshake() - go on with the handshake. To be called again when something was received.
 * Returns 0 with what the client proved in @who: its certificate is verified, where certificates are wanted; -EAGAIN when
 * it waits for the client; or -EPROTO: the alert is in out, @why is a constant for the log. */
int tls_stream_handshake(struct tls_stream *stream, struct identity *who, const char **why);

/* tls_stream_read() - up to @length > 0 bytes of plaintext.
 * Returns how many; 0: the client has said that no more will come; -EAGAIN: more has to be received first; -EPROTO: what
 * came is no TLS, or asks to negotiate again. */
ssize_t tls_stream_read(struct tls_stream *stream, void *bytes, size_t length);

/* tls_stream_write() - encrypt the first bytes of @iov, up to a record.
 * Returns how many; 0: out is full until more of it was sent; -EPROTO: the stream is broken. */
ssize_t tls_stream_write(struct tls_stream *stream, const struct iovec *iov, size_t count);

/* The last that is written: tells the client that this is the end, and not somebody else's cut. */
void tls_stream_end(struct tls_stream *stream);
