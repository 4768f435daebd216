/* conf/address.c -- HOST:PORT, [IPv6]:PORT, unix:PATH and vsock:CID:PORT, from and to text. */
#include "conf/address.h"

#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static const char unix_prefix[] = "unix:", vsock_prefix[] = "vsock:";

static bool begins_with(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
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

	if (begins_with(text, unix_prefix) || begins_with(text, vsock_prefix))
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

/* A number below VMADDR_CID_ANY, which is also VMADDR_PORT_ANY, up to @end. Returns what follows, or NULL. */
static const char *vsock_number(const char *text, char end, unsigned *out)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long long number = strtoull(text, NULL, 10);

	if (digits == 0 || digits > 10 || text[digits] != end || number >= VMADDR_CID_ANY)
		return NULL;
	*out = (unsigned)number;
	return text + digits + 1;
}

static int vsock_address(const char *text, struct address *out, char *why, size_t why_size)
{
	struct sockaddr_vm *vm = (struct sockaddr_vm *)&out->sockaddr;
	unsigned cid = VMADDR_CID_ANY, port;
	const char *behind_cid = vsock_number(text, ':', &cid);

	if (!vsock_number(behind_cid ? behind_cid : text, '\0', &port)) {
		snprintf(why, why_size, "not vsock:CID:PORT or vsock:PORT, in decimal numbers");
		return -1;
	}
	memset(out, 0, sizeof(*out));
	vm->svm_family = AF_VSOCK;
	vm->svm_cid = cid;
	vm->svm_port = port == 0 ? VMADDR_PORT_ANY : port;
	out->length = sizeof(*vm);
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

	if (begins_with(text, unix_prefix))
		return unix_address(text + strlen(unix_prefix), out, why, why_size);
	if (begins_with(text, vsock_prefix))
		return vsock_address(text + strlen(vsock_prefix), out, why, why_size);
	port = split_port(text, host);
	if (!port || !is_port(port)) {
		snprintf(why, why_size, "not " ADDRESS_FORMS);
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

/* "/run/x", "@name" in the abstract namespace, whose names end with the address, or "" for an unnamed socket. */
static void unix_text(const struct address *address, char *out, size_t out_size)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)&address->sockaddr;
	size_t head = offsetof(struct sockaddr_un, sun_path);
	size_t length = address->length > head ? address->length - head : 0;
	bool abstract = length > 0 && un->sun_path[0] == '\0';

	if (abstract)
		snprintf(out, out_size, "@%.*s", (int)length - 1, un->sun_path + 1);
	else
		snprintf(out, out_size, "%.*s", (int)length, un->sun_path);
}

/* "3:10809" or "any:10809". */
static void vsock_text(const struct address *address, char *out, size_t out_size)
{
	const struct sockaddr_vm *vm = (const struct sockaddr_vm *)&address->sockaddr;

	if (vm->svm_cid == VMADDR_CID_ANY)
		snprintf(out, out_size, "any:%u", vm->svm_port);
	else
		snprintf(out, out_size, "%u:%u", vm->svm_cid, vm->svm_port);
}

const char *address_uri(const struct address *address, char *out, size_t out_size)
{
	char text[ADDRESS_TEXT_SIZE];

	switch (address->sockaddr.ss_family) {
	case AF_UNIX:
		unix_text(address, text, sizeof(text));
		snprintf(out, out_size, "%s%s", text[0] == '@' ? unix_prefix : "nbd+unix:///?socket=", text);
		return out;
	case AF_VSOCK:
		vsock_text(address, text, sizeof(text));
		snprintf(out, out_size, "nbd+vsock://%s", text);
		return out;
	default:
		inet_text(address, text, sizeof(text));
		snprintf(out, out_size, "nbd://%s", text);
		return out;
	}
}

const char *address_text(const struct address *address, char out[ADDRESS_TEXT_SIZE])
{
	const char *prefix = "";
	char text[ADDRESS_TEXT_SIZE - sizeof(vsock_prefix)];

	if (address->sockaddr.ss_family == AF_UNIX) {
		prefix = unix_prefix;
		unix_text(address, text, sizeof(text));
	} else if (address->sockaddr.ss_family == AF_VSOCK) {
		prefix = vsock_prefix;
		vsock_text(address, text, sizeof(text));
	} else {
		inet_text(address, text, sizeof(text));
	}
	snprintf(out, ADDRESS_TEXT_SIZE, "%s%s", prefix, text);
	return out;
}
