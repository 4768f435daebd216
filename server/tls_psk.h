/* server/tls_psk.h -- users and their pre-shared keys, from a file as psktool(1) writes it: "USER:HEXKEY", a line each.
 *
 * It is read whole and kept, so that a handshake waits for no disk.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A key is 128 bits at least: it can be tried offline by whoever has seen one handshake without (EC)DHE, and guessed by
 * asking us. At most what GnuTLS takes. */
#define PSK_KEY_MIN 16
#define PSK_KEY_MAX 64

/* The longest file, bytes: thousands of users. */
#define PSK_FILE_MAX (1u << 20)

struct psk_key {
	const char *user; /* borrowed: in the file's text */
	uint8_t key[PSK_KEY_MAX];
	size_t length;
};

struct psk_keys {
	char *text;	      /* owned */
	struct psk_key *keys; /* owned */
	size_t count;
};

/* Returns 0, or -1 with @why, which names the file and the line, and nothing in @keys that has to be freed. */
int psk_keys_load(struct psk_keys *keys, const char *path, char *why, size_t why_size);
void psk_keys_fini(struct psk_keys *keys);

/* The key of @user, @length bytes of a client; NULL: unknown. */
const struct psk_key *psk_keys_find(const struct psk_keys *keys, const void *user, size_t length);
