/* server/access.c -- rules are a short list, looked through once for each export a client asks for. */
#include "server/access.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct access_rule {
	struct access_rule *next; /* owned by struct access */
	enum access_kind kind;
	char *text; /* owned; as it was written */
	/* ACCESS_ADDRESS: the first @bits of an address of @family. */
	int family;
	unsigned bits;
	uint8_t prefix[sizeof(struct in6_addr)];
};

void identity_fini(struct identity *identity)
{
	free(identity->psk_user);
	free(identity->subject);
	for (unsigned i = 0; i < identity->name_count; i++)
		free(identity->names[i]);
	*identity = (struct identity){ 0 };
}

/* Addresses. */

static int parse_bits(const char *text, unsigned max, unsigned *out)
{
	char *end;
	unsigned long bits = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || bits > max)
		return -EINVAL;
	*out = (unsigned)bits;
	return 0;
}

static int parse_range(struct access_rule *rule)
{
	char host[INET6_ADDRSTRLEN] = "";
	size_t length = strcspn(rule->text, "/");
	const char *bits = rule->text + length;

	if (strcmp(rule->text, "unix") == 0) {
		rule->family = AF_UNIX;
		return 0;
	}
	if (length >= sizeof(host))
		return -EINVAL;
	memcpy(host, rule->text, length);
	if (inet_pton(AF_INET, host, rule->prefix) == 1) {
		rule->family = AF_INET;
		rule->bits = 8 * sizeof(struct in_addr);
	} else if (inet_pton(AF_INET6, host, rule->prefix) == 1) {
		rule->family = AF_INET6;
		rule->bits = 8 * sizeof(struct in6_addr);
	} else {
		return -EINVAL;
	}
	return *bits ? parse_bits(bits + 1, rule->bits, &rule->bits) : 0;
}

/* The family of @address and its @bytes, where it is IPv4 or IPv6; an IPv4 client of an IPv6 socket is an IPv4 client. */
static int address_bytes(const struct address *address, const uint8_t **bytes)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->sockaddr;
	const struct sockaddr_in *in = (const struct sockaddr_in *)&address->sockaddr;
	size_t mapped = sizeof(struct in6_addr) - sizeof(struct in_addr);

	*bytes = (const uint8_t *)&in->sin_addr;
	if (address->length == 0)
		return AF_UNSPEC;
	if (address->sockaddr.ss_family != AF_INET6)
		return address->sockaddr.ss_family;
	*bytes = in6->sin6_addr.s6_addr;
	if (!IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return AF_INET6;
	*bytes += mapped;
	return AF_INET;
}

static bool is_in_range(const struct access_rule *rule, const struct address *address)
{
	const uint8_t *bytes;
	unsigned whole = rule->bits / 8, rest = rule->bits % 8;

	if (address_bytes(address, &bytes) != rule->family)
		return false;
	if (rule->bits == 0)
		return true;
	if (memcmp(bytes, rule->prefix, whole) != 0)
		return false;
	return rest == 0 || (bytes[whole] ^ rule->prefix[whole]) >> (8 - rest) == 0;
}

/* Rules. */

static bool is_same(const char *text, const char *other)
{
	return other && strcmp(text, other) == 0;
}

static bool has_name(const struct identity *who, const char *name)
{
	for (unsigned i = 0; i < who->name_count; i++)
		if (is_same(name, who->names[i]))
			return true;
	return false;
}

static bool rule_matches(const struct access_rule *rule, const struct identity *who)
{
	switch (rule->kind) {
	case ACCESS_ADDRESS:
		return is_in_range(rule, &who->address);
	case ACCESS_NAME:
		return has_name(who, rule->text);
	case ACCESS_SUBJECT:
		return is_same(rule->text, who->subject);
	case ACCESS_PSK:
		return is_same(rule->text, who->psk_user);
	}
	return false;
}

static void rule_free(struct access_rule *rule)
{
	free(rule->text);
	free(rule);
}

int access_add(struct access *access, enum access_kind kind, const char *value)
{
	struct access_rule *rule = calloc(1, sizeof(*rule));
	int error = 0;

	if (!rule)
		return -ENOMEM;
	rule->kind = kind;
	rule->text = strdup(value);
	if (!rule->text)
		error = -ENOMEM;
	else if (!*value || (kind == ACCESS_ADDRESS && parse_range(rule)))
		error = -EINVAL;
	if (error) {
		rule_free(rule);
		return error;
	}
	rule->next = access->rules;
	access->rules = rule;
	return 0;
}

void access_fini(struct access *access)
{
	struct access_rule *next;

	for (struct access_rule *rule = access->rules; rule; rule = next) {
		next = rule->next;
		rule_free(rule);
	}
	*access = (struct access){ 0 };
}

bool access_names(const struct access *access, enum access_kind kind)
{
	for (const struct access_rule *rule = access->rules; rule; rule = rule->next)
		if (rule->kind == kind)
			return true;
	return false;
}

bool access_needs_tls(const struct access *access)
{
	return access->tls || access_names(access, ACCESS_NAME) || access_names(access, ACCESS_SUBJECT) ||
	       access_names(access, ACCESS_PSK);
}

bool access_allows(const struct access *access, const struct identity *who)
{
	static const struct identity nobody;
	bool by_address = !access_names(access, ACCESS_ADDRESS), by_identity = true;

	if (!who)
		who = &nobody;
	if (access->tls && !who->tls)
		return false;
	for (const struct access_rule *rule = access->rules; rule && by_identity; rule = rule->next)
		by_identity = rule->kind == ACCESS_ADDRESS;
	for (const struct access_rule *rule = access->rules; rule; rule = rule->next) {
		bool matches = rule_matches(rule, who);

		if (rule->kind == ACCESS_ADDRESS)
			by_address |= matches;
		else
			by_identity |= matches;
	}
	return by_address && by_identity;
}
