/* client/uri.c -- hiding the secrets of a URI. */
#include "client/uri.h"

#include <stdio.h>
#include <string.h>

/* The parameter "socket=PATH" in @query, up to its end; NULL: there is none. */
static const char *find_socket(const char *query, int *length)
{
	static const char name[] = "socket=";

	while (*query) {
		size_t one = strcspn(query, "&;#");

		if (strncmp(query, name, sizeof(name) - 1) == 0) {
			*length = (int)one;
			return query;
		}
		query += one + (query[one] != '\0');
	}
	return NULL;
}

const char *uri_shown(const char *uri, char out[URI_SHOWN_SIZE])
{
	const char *authority = strstr(uri, "://");
	size_t whole = strcspn(uri, "?#");
	const char *socket, *at;
	int length, scheme;

	if (!authority || authority > uri + whole) {
		snprintf(out, URI_SHOWN_SIZE, "%.*s", (int)whole, uri);
		return out;
	}
	authority += strlen("://");
	scheme = (int)(authority - uri);
	at = memrchr(authority, '@', strcspn(authority, "/?#"));
	if (at)
		authority = at + 1;
	socket = uri[whole] == '?' ? find_socket(uri + whole + 1, &length) : NULL;
	snprintf(out, URI_SHOWN_SIZE, "%.*s%.*s%s%.*s", scheme, uri, (int)(uri + whole - authority),
		authority, socket ? "?" : "", socket ? length : 0, socket ? socket : "");
	return out;
}
