/* server/tls_credentials.h -- one generation of certificates and keys, as GnuTLS wants it. Constant once loaded.
 *
 * For server/tls*.c alone: the rest of the server sees no GnuTLS.
 */
#pragma once

#include <gnutls/gnutls.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "server/tls_psk.h"

struct tls_credentials {
	atomic_uint users;
	gnutls_priority_t priority;
	gnutls_certificate_credentials_t certificates; /* owned; NULL: none */
	gnutls_psk_server_credentials_t psk;	       /* owned; NULL: none */
	struct psk_keys keys;
	bool verify_peer;
};
