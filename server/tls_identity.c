/* server/tls_identity.c -- names from certificates. Text with a NUL in it is no name: it would match the rule for what
 * stands before the NUL. */
#include "server/tls_identity.h"

#include <arpa/inet.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>

/* The longest name, bytes: more than DNS, RFC 5280's upper bounds and any sane URI. A longer one is left out. */
#define NAME_BYTES_MAX 1024

static int verify_certificate(gnutls_session_t session)
{
	/* An authority may sign servers and clients: the one is not to pass for the other. */
	gnutls_typed_vdata_st purpose = {
		.type = GNUTLS_DT_KEY_PURPOSE_OID,
		.data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT,
	};
	unsigned status;
	int code = gnutls_certificate_verify_peers(session, &purpose, 1, &status);

	if (code < 0)
		return code;
	return status ? GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR : 0;
}

/* Returns 0 or GNUTLS_E_MEMORY_ERROR. */
static int add_name(struct identity *who, const char *name, size_t length)
{
	if (length == 0 || memchr(name, '\0', length) || who->name_count == IDENTITY_NAMES_MAX)
		return 0;
	who->names[who->name_count] = strndup(name, length);
	if (!who->names[who->name_count])
		return GNUTLS_E_MEMORY_ERROR;
	who->name_count++;
	return 0;
}

static int add_address(struct identity *who, const void *bytes, size_t length)
{
	char text[INET6_ADDRSTRLEN];
	int family = length == sizeof(struct in_addr) ? AF_INET : AF_INET6;

	if (length != sizeof(struct in_addr) && length != sizeof(struct in6_addr))
		return 0;
	inet_ntop(family, bytes, text, sizeof(text));
	return add_name(who, text, strlen(text));
}

static int add_alternative_names(gnutls_x509_crt_t certificate, struct identity *who)
{
	int error = 0;

	for (unsigned i = 0; !error; i++) {
		char name[NAME_BYTES_MAX];
		size_t length = sizeof(name);
		int type = gnutls_x509_crt_get_subject_alt_name(certificate, i, name, &length, NULL);

		if (type == GNUTLS_E_SHORT_MEMORY_BUFFER)
			continue;
		if (type < 0)
			break;
		if (type == GNUTLS_SAN_IPADDRESS)
			error = add_address(who, name, length);
		else if (type == GNUTLS_SAN_DNSNAME || type == GNUTLS_SAN_RFC822NAME ||
			 type == GNUTLS_SAN_URI)
			error = add_name(who, name, length);
	}
	return error;
}

static int add_common_name(gnutls_x509_crt_t certificate, struct identity *who)
{
	char name[NAME_BYTES_MAX];
	size_t length = sizeof(name);
	int code =
		gnutls_x509_crt_get_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &length);

	return code < 0 ? 0 : add_name(who, name, length);
}

static int read_certificate(gnutls_x509_crt_t certificate, struct identity *who)
{
	gnutls_datum_t subject;
	int error = add_common_name(certificate, who);

	if (!error)
		error = add_alternative_names(certificate, who);
	if (error || gnutls_x509_crt_get_dn3(certificate, &subject, 0) < 0)
		return error;
	if (!memchr(subject.data, '\0', subject.size))
		who->subject = strndup((const char *)subject.data, subject.size);
	gnutls_free(subject.data);
	return 0;
}

static int identify_certificate(gnutls_session_t session, struct identity *who)
{
	unsigned count;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
	gnutls_x509_crt_t certificate;
	int code;

	if (!chain || count == 0)
		return GNUTLS_E_NO_CERTIFICATE_FOUND;
	code = verify_certificate(session);
	if (code < 0)
		return code;
	code = gnutls_x509_crt_init(&certificate);
	if (code < 0)
		return code;
	code = gnutls_x509_crt_import(certificate, &chain[0], GNUTLS_X509_FMT_DER);
	if (code >= 0)
		code = read_certificate(certificate, who);
	gnutls_x509_crt_deinit(certificate);
	return code;
}

/* GnuTLS lets a user's name have a NUL where the table it is looked up in does: ours does not. */
static int identify_user(gnutls_session_t session, struct identity *who)
{
	const char *user = gnutls_psk_server_get_username(session);

	who->psk_user = user ? strdup(user) : NULL;
	return who->psk_user ? 0 : GNUTLS_E_MEMORY_ERROR;
}

int tls_identify(gnutls_session_t session, bool verify, struct identity *who)
{
	int code = 0;

	if (gnutls_auth_get_type(session) == GNUTLS_CRD_PSK)
		code = identify_user(session, who);
	else if (verify)
		code = identify_certificate(session, who);
	if (code >= 0)
		who->tls = true;
	return code;
}
