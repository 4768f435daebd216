/* conf/address.c -- HOST:PORT, [IPv6]:PORT and unix:PATH, from and to text. */
#include "conf/address.h"

#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static const char unix_prefix[] = "unix:";

static bool is_unix(const char *text)
{
	return strncmp(text, unix_prefix, strlen(unix_prefix)) == 0;
}

/* Splits at the last colon. @host (NI_MAXHOST bytes) loses its brackets. Returns the port's text, or NULL where
 * @text is no HOST:PORT. */
static const char *split_port(const char *text, char *host)
{
	const char *colon = strrchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : 0;
	bool bracketed = length >= 2 && text[0] == '[' && text[length - 1] == ']';

	if (!colon || length >= NI_MAXHOST)
		return NULL;
	if (bracketed) {
		text++;
		length -= 2;
	} else if (memchr(text, ':', length) || memchr(text, '/', length)) {
		return NULL;
	}
	memcpy(host, text, length);
	host[length] = '\0';
	return colon + 1;
}

static bool is_port(const char *port)
{
	size_t digits = strspn(port, "0123456789");

	return digits > 0 && digits <= 5 && port[digits] == '\0' && atoi(port) <= 65535;
}

bool address_looks(const char *text)
{
	char host[NI_MAXHOST];
	const char *port;

	if (is_unix(text))
		return true;
	port = split_port(text, host);
	return port && is_port(port);
}

static int unix_address(const char *path, struct address *out, char *why, size_t why_size)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&out->sockaddr;

	if (!*path || strlen(path) >= sizeof(un->sun_path)) {
		snprintf(why, why_size, "the path of a Unix socket has 1 to %zu bytes",
			sizeof(un->sun_path) - 1);
		return -1;
	}
	memset(out, 0, sizeof(*out));
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path) + 1);
	out->length = sizeof(*un);
	return 1;
}

static int inet_addresses(const char *host, const char *port, struct address *out, char *why, size_t why_size)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM };
	struct addrinfo *found;
	int count = 0;
	int error = getaddrinfo(*host ? host : NULL, port, &hints, &found);

	if (error) {
		snprintf(why, why_size, "%s", gai_strerror(error));
		return -1;
	}
	for (struct addrinfo *one = found; one && count < ADDRESS_RESOLVED_MAX; one = one->ai_next, count++) {
		memset(&out[count], 0, sizeof(out[count]));
		memcpy(&out[count].sockaddr, one->ai_addr, one->ai_addrlen);
		out[count].length = one->ai_addrlen;
	}
	freeaddrinfo(found);
	return count;
}

int address_resolve(const char *text, struct address out[ADDRESS_RESOLVED_MAX], char *why, size_t why_size)
{
	char host[NI_MAXHOST];
	const char *port;

	if (is_unix(text))
		return unix_address(text + strlen(unix_prefix), out, why, why_size);
	port = split_port(text, host);
	if (!port || !is_port(port)) {
		snprintf(why, why_size, "not HOST:PORT, [IPv6]:PORT or unix:PATH");
		return -1;
	}
	return inet_addresses(host, port, out, why, why_size);
}

/* "1.2.3.4:5" or "[::1]:5". */
static void inet_text(const struct address *address, char *out, size_t out_size)
{
	char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 1], port[sizeof("65535")];

	if (getnameinfo((const struct sockaddr *)&address->sockaddr, address->length, host, sizeof(host),
		    port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(out, out_size, "?");
	else if (address->sockaddr.ss_family == AF_INET6)
		snprintf(out, out_size, "[%s]:%s", host, port);
	else
		snprintf(out, out_size, "%s:%s", host, port);
}

static const char *unix_path(const struct address *address)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)&address->sockaddr;

	return address->length > offsetof(struct sockaddr_un, sun_path) ? un->sun_path : "";
}

const char *address_uri(const struct address *address, char *out, size_t out_size)
{
	char text[ADDRESS_TEXT_SIZE];

	if (address->sockaddr.ss_family == AF_UNIX) {
		snprintf(out, out_size, "nbd+unix:///?socket=%s", unix_path(address));
		return out;
	}
	inet_text(address, text, sizeof(text));
	snprintf(out, out_size, "nbd://%s", text);
	return out;
}

const char *address_text(const struct address *address, char out[ADDRESS_TEXT_SIZE])
{
	if (address->sockaddr.ss_family == AF_UNIX)
		snprintf(out, ADDRESS_TEXT_SIZE, "unix:%s", unix_path(address));
	else
		inet_text(address, out, ADDRESS_TEXT_SIZE);
	return out;
}
