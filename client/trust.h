/* client/trust.h -- whether a TLS server has to prove who it is, before anything is said to it.
 *
 * libnbd encrypts to whoever answers where it finds no certificate of an authority: in the folder of the URI's
 * tls-certificates, or else of those that it has by itself; a folder's name that is spelt wrong is enough. A disk's
 * bytes are not for whoever answers.
 */
#pragma once

/* Room for the reason below. */
#define TRUST_WHY_SIZE 256

/* trust_check() - @uri: any text.
 * Returns 0: no TLS, a local socket or vsock, a key, or a certificate of an authority to hold the server's against; or -1
 * and the reason in @why: there is no such certificate. */
int trust_check(const char *uri, char why[TRUST_WHY_SIZE]);
