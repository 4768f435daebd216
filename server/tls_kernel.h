/* server/tls_kernel.h -- records of TLS made and opened by the kernel: its "kTLS", below a socket that looks like a plain one.
 *
 * GnuTLS makes the handshake, and its keys go to the kernel. From then on data is sent and received as without TLS. What
 * differs: a receive fails with -EIO where a record is no data, and with others where one is not right; and sends take no
 * MSG_WAITALL.
 *
 * Both directions are the kernel's, or none: so a session is like a plain one, or like one with a stream. And only connections
 * whose first key lasts are: those of TLS 1.2, and with ChaCha20. AES of TLS 1.3 wants new keys after 2^24 records (RFC 8446,
 * "Limits on Key Usage"), which GnuTLS's clients send by themselves, and Linux takes none before 6.14.
 * Spec: Linux, Documentation/networking/tls.rst.
 */
#pragma once

#include <stdbool.h>

struct tls_stream;

/* tls_kernel_probe() - whether this kernel can, tried on a connection of our own through the loopback interface; it may load a
 * module. Returns 0; or -errno, and in @missing, a constant for the log, what that is about. */
int tls_kernel_probe(const char **missing);

/* tls_kernel_take() - let the kernel go on with @stream, whose handshake is done, in @fd, its socket.
 * Returns 0 with @taken: true: @stream is not needed any more; false: it goes on as before, since this connection is none for the
 * kernel. Or -errno: the connection is of no use any more. */
int tls_kernel_take(const struct tls_stream *stream, int fd, bool *taken);

/* tls_kernel_received() - a receive has failed with @error (-errno).
 * Returns -EAGAIN: receive again; 0: the client has said that no more will come; -EPROTO: what came is no TLS, or not allowed;
 * -EKEYREJECTED: a new key; or @error. */
int tls_kernel_received(int fd, int error);

/* The last that is sent, if the socket has room: tells the client that this is the end. */
void tls_kernel_end(int fd);
