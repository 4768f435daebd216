/* server/access.h -- who may see and use an export: the rules that an operator wrote, and the client they are held against.
 *
 * A client must have one of the addresses, where any are named, and one of the identities (certificate names, subjects,
 * PSK users), where any are named. An identity needs TLS. Without rules everybody may.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "conf/address.h"

/* Common name and alternative names of one certificate; more are left out, and match no rule. */
#define IDENTITY_NAMES_MAX 64

/* What we know of a client. All text is owned, and was proved in the TLS handshake. */
struct identity {
	struct address address; /* length 0: not known, and in no range */
	bool tls;
	char *psk_user; /* NULL: none */
	char *subject;	/* of its certificate, RFC 4514: "CN=host1,O=Example"; NULL: none */
	char *names[IDENTITY_NAMES_MAX];
	unsigned name_count;
};

void identity_fini(struct identity *identity);

enum access_kind {
	ACCESS_ADDRESS, /* "10.0.0.0/8", "fd00::/8", "10.1.2.3", or "unix": clients of Unix sockets */
	ACCESS_NAME, /* the certificate's common name, or a DNS, email, URI or IP alternative name; byte for byte */
	ACCESS_SUBJECT, /* the certificate's whole subject, as in struct identity */
	ACCESS_PSK,	/* the user of a pre-shared key */
};

struct access_rule;

struct access {
	bool tls;		   /* only through TLS */
	struct access_rule *rules; /* owned */
};

/* Returns 0, -ENOMEM, or -EINVAL where @value is no address or range, or empty. */
int access_add(struct access *access, enum access_kind kind, const char *value);
void access_fini(struct access *access);

/* access_allows() - whether @who may see and use the export; NULL: somebody we know nothing of. */
bool access_allows(const struct access *access, const struct identity *who);

/* Whether rules name identities of @kind. */
bool access_names(const struct access *access, enum access_kind kind);

/* Whether nobody gets in without TLS. */
bool access_needs_tls(const struct access *access);
