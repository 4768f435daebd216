/* The rules of an export let in whom they name, byte for byte and bit for bit, and nobody else.
 * If this fails, somebody reads and writes a disk that was to be hidden from them, or is locked out of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "server/export_spec.h"

static struct address address_of(const char *text)
{
	struct address address = { .length = sizeof(address.sockaddr) };
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address.sockaddr;
	struct sockaddr_in *in = (struct sockaddr_in *)&address.sockaddr;

	if (strcmp(text, "unix") == 0) {
		address.sockaddr.ss_family = AF_UNIX;
	} else if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		address.sockaddr.ss_family = AF_INET;
	} else if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		address.sockaddr.ss_family = AF_INET6;
	} else {
		address.length = 0;
	}
	return address;
}

static void parse(const char *keys, struct export_spec *spec)
{
	char text[256] = "a=/d,", why[256];

	strcat(text, keys);
	assert_int_equal(export_spec_parse(text, spec, why, sizeof(why)), 0);
}

static const struct {
	const char *keys, *client;
	bool allowed;
} ranges[] = {
	{ "allow-address=10.1.2.3", "10.1.2.3", true },
	{ "allow-address=10.1.2.3", "10.1.2.2", false },
	{ "allow-address=10.1.2.3", "::ffff:10.1.2.3", true },
	{ "allow-address=10.0.0.0/8", "10.255.0.1", true },
	{ "allow-address=10.0.0.0/8", "11.0.0.1", false },
	{ "allow-address=10.0.0.128/25", "10.0.0.129", true },
	{ "allow-address=10.0.0.128/25", "10.0.0.127", false },
	{ "allow-address=10.0.0.8/31", "10.0.0.9", true },
	{ "allow-address=10.0.0.8/31", "10.0.0.10", false },
	{ "allow-address=0.0.0.0/0", "1.2.3.4", true },
	{ "allow-address=0.0.0.0/0", "::1", false },
	{ "allow-address=0.0.0.0/0", "unix", false },
	{ "allow-address=0.0.0.0/0", "?", false },
	{ "allow-address=::/0", "1.2.3.4", false },
	{ "allow-address=::/0", "::1", true },
	{ "allow-address=fd00::/8", "fdff::1", true },
	{ "allow-address=fd00::/8", "fe00::1", false },
	{ "allow-address=fd00::1/127", "fd00::", true },
	{ "allow-address=::1", "::1", true },
	{ "allow-address=::1", "::2", false },
	{ "allow-address=unix", "unix", true },
	{ "allow-address=unix", "127.0.0.1", false },
	{ "allow-address=unix,allow-address=10.0.0.0/8", "10.0.0.1", true },
	{ "allow-address=unix,allow-address=10.0.0.0/8", "unix", true },
	{ "allow-address=unix,allow-address=10.0.0.0/8", "::1", false },
	{ "readonly", "?", true },
	{ "tls", "127.0.0.1", false },
};

static void addresses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(ranges) / sizeof(*ranges); i++) {
		struct identity who = { .address = address_of(ranges[i].client) };
		struct export_spec spec;

		parse(ranges[i].keys, &spec);
		if (access_allows(&spec.access, &who) != ranges[i].allowed)
			fail_msg("%s from %s", ranges[i].keys, ranges[i].client);
		export_spec_fini(&spec);
	}
}

static struct identity alice = {
	.tls = true,
	.subject = (char *)"CN=alice,O=Example",
	.names = { (char *)"alice", (char *)"alice.example" },
	.name_count = 2,
};
static struct identity bob = { .tls = true, .psk_user = (char *)"bob" };
static struct identity carol = { .tls = true };
static struct identity nobody;

static const struct {
	const char *keys;
	bool alice, bob, carol, nobody;
} identities[] = {
	{ "readonly", true, true, true, true },
	{ "tls", true, true, true, false },
	{ "allow-cert=alice", true, false, false, false },
	{ "allow-cert=alice.example", true, false, false, false },
	{ "allow-cert=Alice", false, false, false, false },
	{ "allow-cert=alic", false, false, false, false },
	{ "allow-cert=alice.example.com", false, false, false, false },
	{ "allow-cert=CN=alice,,O=Example", false, false, false, false },
	{ "allow-subject=CN=alice,,O=Example", true, false, false, false },
	{ "allow-subject=alice", false, false, false, false },
	{ "allow-psk=bob", false, true, false, false },
	{ "allow-psk=alice", false, false, false, false },
	{ "allow-cert=bob", false, false, false, false },
	{ "allow-cert=alice,allow-psk=bob", true, true, false, false },
	{ "allow-cert=x,allow-cert=alice,allow-cert=y", true, false, false, false },
	{ "allow-psk=bob,allow-address=10.0.0.0/8", false, false, false, false },
};

static void names_and_users(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(identities) / sizeof(*identities); i++) {
		struct export_spec spec;
		const struct access *access = &spec.access;

		parse(identities[i].keys, &spec);
		if (access_allows(access, &alice) != identities[i].alice ||
			access_allows(access, &bob) != identities[i].bob ||
			access_allows(access, &carol) != identities[i].carol ||
			access_allows(access, &nobody) != identities[i].nobody ||
			access_allows(access, NULL) != identities[i].nobody)
			fail_msg("%s", identities[i].keys);
		assert_int_equal(access_needs_tls(access), i > 0);
		export_spec_fini(&spec);
	}
}

static void address_and_identity(void **state)
{
	struct identity who = bob;
	struct export_spec spec;

	(void)state;
	parse("allow-psk=bob,allow-address=10.0.0.0/8", &spec);
	who.address = address_of("10.1.1.1");
	assert_true(access_allows(&spec.access, &who));
	who.address = address_of("11.1.1.1");
	assert_false(access_allows(&spec.access, &who));
	who = alice;
	who.address = address_of("10.1.1.1");
	assert_false(access_allows(&spec.access, &who));
	export_spec_fini(&spec);
}

static void nonsense_is_refused(void **state)
{
	static const char *const bad[] = {
		"allow-address=10.0.0.0/33",
		"allow-address=10.0.0.0/",
		"allow-address=10.0.0.0/+8",
		"allow-address=10.0.0.0/8x",
		"allow-address=10.0.0",
		"allow-address=::/129",
		"allow-address=storage1",
		"allow-address=",
		"allow-address",
		"allow-address=10.0.0.1:80",
		"allow-cert=",
		"allow-psk=",
		"allow-subject=",
		"tls=yes",
		"tls,tls",
		"allow-address=1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb",
	};
	char text[256], why[256];
	struct export_spec spec;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		strcpy(text, "a=/d,");
		strcat(text, bad[i]);
		if (export_spec_parse(text, &spec, why, sizeof(why)) == 0)
			fail_msg("%s", bad[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses),
		cmocka_unit_test(names_and_users),
		cmocka_unit_test(address_and_identity),
		cmocka_unit_test(nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
