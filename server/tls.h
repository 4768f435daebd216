/* server/tls.h -- the server's certificates and keys: where they are, and the generation of them in use.
 *
 * On the main thread, but for struct tls_credentials: a connection keeps the generation that it began with, and the last
 * one that holds it frees it, on any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* proto.md, "Server-side requirements" of TLS: NOTLS, SELECTIVETLS, FORCEDTLS. */
enum tls_mode { TLS_OFF, TLS_ON, TLS_REQUIRE };

struct tls_settings {
	enum tls_mode mode;
	/* borrowed: argv. A folder with server-cert.pem and server-key.pem; with verify_peer, also ca-cert.pem, whose
	 * certificates a client's must be signed by, and, if it exists, ca-crl.pem. NULL: none. */
	const char *certificates;
	const char *psk; /* borrowed: argv. A file of server/tls_psk.h; NULL: none */
	bool verify_peer;
	bool no_kernel; /* records are GnuTLS's, whatever the kernel can */
};

struct tls_credentials;

struct tls {
	struct tls_settings settings;
	bool by_kernel; /* whether connections may be the kernel's; the owner finds out */
	struct tls_credentials *credentials; /* counted: the newest generation; NULL: TLS_OFF */
};

/* tls_open() - load what @settings name. Returns 0, or -1 with @why and nothing to close. */
int tls_open(struct tls *tls, const struct tls_settings *settings, char *why, size_t why_size);

/* tls_reload() - load it again, for the handshakes to come. Returns 0; or -1 with @why: the old ones stay in use. */
int tls_reload(struct tls *tls, char *why, size_t why_size);

/* Connections keep what they hold. */
void tls_close(struct tls *tls);

struct tls_credentials *tls_credentials_get(struct tls_credentials *credentials);
void tls_credentials_put(struct tls_credentials *credentials);
