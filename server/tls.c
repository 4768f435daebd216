/* server/tls.c -- loads certificates and keys, a generation at a time. */
#include "server/tls.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/tls_credentials.h"

/* TLS 1.2 and newer, as proto.md, "TLS versions", says; nothing without forward secrecy. */
#define PRIORITY     "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA"
#define PRIORITY_PSK PRIORITY ":+ECDHE-PSK:+DHE-PSK"

/* A pre-shared key takes ciphers with SHA-256 only. Of these GnuTLS's clients ask for ChaCha20 first, which may cost ten times as
 * much as AES where the processor has instructions for that; there we choose. And then GnuTLS chooses the group, too: that for
 * which clients of GnuTLS and OpenSSL have sent a share already, so that they need not try again. */
#define AES_FIRST                                                                                  \
	":%SERVER_PRECEDENCE:-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM"                                \
	":+CHACHA20-POLY1305:+AES-256-CCM:+AES-128-CCM:+AES-256-CBC:+AES-128-CBC"                  \
	":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-X448:+GROUP-SECP384R1:+GROUP-SECP521R1" \
	":+GROUP-FFDHE2048:+GROUP-FFDHE3072:+GROUP-FFDHE4096:+GROUP-FFDHE6144:+GROUP-FFDHE8192"

struct why {
	char *text;
	size_t size;
};

static int fail(const struct why *why, const char *what, int code)
{
	snprintf(why->text, why->size, "%s: %s", what, gnutls_strerror(code));
	return -1;
}

static void join(char out[PATH_MAX], const char *folder, const char *file)
{
	snprintf(out, PATH_MAX, "%s/%s", folder, file);
}

static int load_pair(struct tls_credentials *credentials, const char *folder, const struct why *why)
{
	char certificate[PATH_MAX], key[PATH_MAX];
	int code;

	join(certificate, folder, "server-cert.pem");
	join(key, folder, "server-key.pem");
	if (access(key, R_OK)) {
		snprintf(why->text, why->size, "%s: %m", key);
		return -1;
	}
	code = gnutls_certificate_set_x509_key_file(
		credentials->certificates, certificate, key, GNUTLS_X509_FMT_PEM);
	return code < 0 ? fail(why, certificate, code) : 0;
}

static int load_authority(struct tls_credentials *credentials, const char *folder, const struct why *why)
{
	char path[PATH_MAX];
	int code;

	join(path, folder, "ca-cert.pem");
	code = gnutls_certificate_set_x509_trust_file(credentials->certificates, path, GNUTLS_X509_FMT_PEM);
	if (code <= 0)
		return fail(why, path, code < 0 ? code : GNUTLS_E_NO_CERTIFICATE_FOUND);
	join(path, folder, "ca-crl.pem");
	if (access(path, F_OK))
		return 0;
	code = gnutls_certificate_set_x509_crl_file(credentials->certificates, path, GNUTLS_X509_FMT_PEM);
	return code < 0 ? fail(why, path, code) : 0;
}

static int load_certificates(
	struct tls_credentials *credentials, const struct tls_settings *settings, const struct why *why)
{
	int code = gnutls_certificate_allocate_credentials(&credentials->certificates);

	if (code < 0)
		return fail(why, "certificates", code);
	if (load_pair(credentials, settings->certificates, why))
		return -1;
	return settings->verify_peer ? load_authority(credentials, settings->certificates, why) : 0;
}

/* GnuTLS goes on with a key of its own where a user is unknown (1), so that users cannot be guessed one by one. */
static int find_key(gnutls_session_t session, const gnutls_datum_t *user, gnutls_datum_t *key)
{
	const struct tls_credentials *credentials = gnutls_session_get_ptr(session);
	const struct psk_key *found = psk_keys_find(&credentials->keys, user->data, user->size);

	if (!found)
		return 1;
	key->data = gnutls_malloc(found->length);
	if (!key->data)
		return -1;
	memcpy(key->data, found->key, found->length);
	key->size = (unsigned)found->length;
	return 0;
}

static int load_psk(struct tls_credentials *credentials, const char *path, const struct why *why)
{
	int code;

	if (psk_keys_load(&credentials->keys, path, why->text, why->size))
		return -1;
	code = gnutls_psk_allocate_server_credentials(&credentials->psk);
	if (code < 0)
		return fail(why, path, code);
	gnutls_psk_set_server_credentials_function2(credentials->psk, find_key);
	return 0;
}

static void credentials_free(struct tls_credentials *credentials)
{
	if (credentials->certificates)
		gnutls_certificate_free_credentials(credentials->certificates);
	if (credentials->psk)
		gnutls_psk_free_server_credentials(credentials->psk);
	if (credentials->priority)
		gnutls_priority_deinit(credentials->priority);
	psk_keys_fini(&credentials->keys);
	free(credentials);
}

/* Where the processor has instructions for AES, GnuTLS's own list begins with it. */
static bool has_fast_aes(gnutls_priority_t priority)
{
	const unsigned *ciphers;

	return gnutls_priority_cipher_list(priority, &ciphers) > 0 && ciphers[0] == GNUTLS_CIPHER_AES_256_GCM;
}

static int load_priority(gnutls_priority_t *priority, const struct tls_settings *settings)
{
	int code = gnutls_priority_init(priority, settings->psk ? PRIORITY_PSK : PRIORITY, NULL);

	if (code < 0 || !has_fast_aes(*priority))
		return code;
	gnutls_priority_deinit(*priority);
	code = gnutls_priority_init(
		priority, settings->psk ? PRIORITY_PSK AES_FIRST : PRIORITY AES_FIRST, NULL);
	if (code < 0)
		*priority = NULL;
	return code;
}

static int load(
	struct tls_credentials *credentials, const struct tls_settings *settings, const struct why *why)
{
	int code = load_priority(&credentials->priority, settings);

	if (code < 0)
		return fail(why, "TLS", code);
	credentials->verify_peer = settings->verify_peer;
	if (settings->certificates && load_certificates(credentials, settings, why))
		return -1;
	return settings->psk ? load_psk(credentials, settings->psk, why) : 0;
}

int tls_reload(struct tls *tls, char *why, size_t why_size)
{
	struct tls_credentials *credentials = calloc(1, sizeof(*credentials));

	if (!credentials) {
		snprintf(why, why_size, "out of memory");
		return -1;
	}
	atomic_init(&credentials->users, 1);
	if (load(credentials, &tls->settings, &(struct why){ why, why_size })) {
		credentials_free(credentials);
		return -1;
	}
	tls_credentials_put(tls->credentials);
	tls->credentials = credentials;
	return 0;
}

int tls_open(struct tls *tls, const struct tls_settings *settings, char *why, size_t why_size)
{
	*tls = (struct tls){ .settings = *settings };
	return settings->mode == TLS_OFF ? 0 : tls_reload(tls, why, why_size);
}

void tls_close(struct tls *tls)
{
	tls_credentials_put(tls->credentials);
	*tls = (struct tls){ 0 };
}

struct tls_credentials *tls_credentials_get(struct tls_credentials *credentials)
{
	atomic_fetch_add_explicit(&credentials->users, 1, memory_order_relaxed);
	return credentials;
}

void tls_credentials_put(struct tls_credentials *credentials)
{
	if (credentials && atomic_fetch_sub_explicit(&credentials->users, 1, memory_order_acq_rel) == 1)
		credentials_free(credentials);
}
