/* client/trust.c -- looks where libnbd will look. */
#include "client/trust.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, c | 0x20) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Spec: RFC 3986, "Percent-Encoding". Cut where it does not fit: such a folder is not found. */
static void decode(const char *text, size_t length, char *out, size_t out_size)
{
	size_t used = 0;

	for (size_t i = 0; i < length && used + 1 < out_size; i++) {
		bool escaped = text[i] == '%' && i + 2 < length && hex_digit(text[i + 1]) >= 0 &&
			       hex_digit(text[i + 2]) >= 0;

		out[used++] =
			escaped ? (char)(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])) : text[i];
		i += escaped ? 2 : 0;
	}
	out[used] = '\0';
}

/* The last parameter of that name, decoded to @out. Returns false: there is none. */
static bool find_parameter(const char *uri, const char *name, char *out, size_t out_size)
{
	const char *at = uri + strcspn(uri, "?#");
	bool found = false;

	while (*at && *at != '#') {
		size_t length = strcspn(++at, "&;#"), name_length = strlen(name);

		if (length > name_length && strncmp(at, name, name_length) == 0 && at[name_length] == '=') {
			decode(at + name_length + 1, length - name_length - 1, out, out_size);
			found = true;
		}
		at += length;
	}
	return found;
}

static bool has_authority(const char *folder, const char *below)
{
	char path[PATH_MAX];
	int length = snprintf(path, sizeof(path), "%s%s/ca-cert.pem", folder, below);

	return length < (int)sizeof(path) && access(path, R_OK) == 0;
}

/* libnbd's own places. Spec: nbd_set_tls_certificates(3). */
static bool has_usual_authority(void)
{
	const char *home = getenv("HOME");

	if (geteuid() == 0 || !home)
		return has_authority("/etc/pki/libnbd", "");
	return has_authority(home, "/.pki/libnbd") || has_authority(home, "/.config/pki/libnbd");
}

int trust_check(const char *uri, char why[TRUST_WHY_SIZE])
{
	static const char tls_by_tcp[] = "nbds://";
	char value[PATH_MAX];

	if (strncmp(uri, tls_by_tcp, sizeof(tls_by_tcp) - 1) != 0 ||
		find_parameter(uri, "tls-psk-file", value, sizeof(value)))
		return 0;
	if (find_parameter(uri, "tls-certificates", value, sizeof(value))) {
		if (has_authority(value, ""))
			return 0;
		snprintf(why, TRUST_WHY_SIZE,
			"%.150s/ca-cert.pem: %s: nothing to hold the server's certificate against", value,
			strerror(errno));
		return -1;
	}
	if (has_usual_authority())
		return 0;
	snprintf(why, TRUST_WHY_SIZE,
		"nothing to hold the server's certificate against: the URI needs tls-certificates= or "
		"tls-psk-file=");
	return -1;
}
