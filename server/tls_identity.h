/* server/tls_identity.h -- what a client has proved of itself in its TLS handshake. */
#pragma once

#include <gnutls/gnutls.h>
#include <stdbool.h>

#include "server/access.h"

/* tls_identify() - after the handshake.
 * @verify: the client's certificate must be signed by the trusted authorities, in time, not revoked, and not made for
 * servers only. A client with a pre-shared key has no need of one.
 * Returns 0 with @who filled, but for its address; or a code of GnuTLS: nothing is known of the client. */
int tls_identify(gnutls_session_t session, bool verify, struct identity *who);
