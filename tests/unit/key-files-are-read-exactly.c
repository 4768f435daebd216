/* A file of pre-shared keys gives each user the key that stands there, or is refused with its line.
 * If this fails, a user gets in with another key, or a server starts that lets nobody in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "server/tls_psk.h"

#define KEY_A "00112233445566778899aabbccddeeff"
#define KEY_B "FFEEDDCCBBAA99887766554433221100ff"

static int load(struct psk_keys *keys, const void *text, size_t length, char why[256])
{
	char path[] = "/tmp/vnbd-psk.XXXXXX";
	int fd = mkstemp(path), error;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, length), (ssize_t)length);
	close(fd);
	error = psk_keys_load(keys, path, why, 256);
	unlink(path);
	return error;
}

static void users_have_their_keys(void **state)
{
	static const char text[] = "alice:" KEY_A "\n\nb:o b:" KEY_B "\r\nlast:" KEY_A;
	const struct psk_key *key;
	struct psk_keys keys;
	char why[256];

	(void)state;
	assert_int_equal(load(&keys, text, strlen(text), why), 0);
	assert_int_equal(keys.count, 3);
	key = psk_keys_find(&keys, "alice", 5);
	assert_int_equal(key->length, 16);
	assert_memory_equal(key->key, "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16);
	key = psk_keys_find(&keys, "b:o b", 5);
	assert_int_equal(key->length, 17);
	assert_memory_equal(key->key, "\xff\xee\xdd", 3);
	assert_non_null(psk_keys_find(&keys, "last", 4));
	assert_null(psk_keys_find(&keys, "alic", 4));
	assert_null(psk_keys_find(&keys, "alice\0", 6));
	assert_null(psk_keys_find(&keys, "", 0));
	psk_keys_fini(&keys);
}

static void mistakes_are_told(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{ "", "no key" },
		{ "\n\n", "no key" },
		{ "alice", "line 1" },
		{ "alice:", "line 1" },
		{ ":" KEY_A, "line 1" },
		{ "alice:" KEY_A "\nbob:" KEY_A "0\n", "line 2" },
		{ "alice:" KEY_A "\n#bob:" KEY_A "\n", "line 2" },
		{ "\nalice:0011223344556677", "line 2" },
		{ "alice:" KEY_A "gg", "line 1" },
		{ "alice:" KEY_A KEY_A KEY_A KEY_A KEY_A, "line 1" },
	};
	struct psk_keys keys;
	char why[256];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_not_equal(load(&keys, bad[i].text, strlen(bad[i].text), why), 0);
		if (!strstr(why, bad[i].why) || strstr(why, KEY_A))
			fail_msg("%s: %s", bad[i].text, why);
		assert_null(keys.text);
	}
	assert_int_not_equal(load(&keys, "a:" KEY_A "\0\n", 36, why), 0);
	assert_int_not_equal(psk_keys_load(&keys, "/nonexistent", why, sizeof(why)), 0);
	assert_non_null(strstr(why, "No such file"));
}

static void long_files_are_refused(void **state)
{
	char *text = malloc(PSK_FILE_MAX + 1), why[256];
	struct psk_keys keys;

	(void)state;
	memset(text, '\n', PSK_FILE_MAX + 1);
	memcpy(text, "alice:" KEY_A, strlen("alice:" KEY_A));
	assert_int_equal(load(&keys, text, PSK_FILE_MAX, why), 0);
	psk_keys_fini(&keys);
	assert_int_not_equal(load(&keys, text, PSK_FILE_MAX + 1, why), 0);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(users_have_their_keys),
		cmocka_unit_test(mistakes_are_told),
		cmocka_unit_test(long_files_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
