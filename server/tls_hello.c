/* server/tls_hello.c -- looks for two extensions. */
#include "server/tls_hello.h"

enum { MAX_FRAGMENT_LENGTH = 1, RECORD_SIZE_LIMIT = 28 };

/* The largest of the lengths that MAX_FRAGMENT_LENGTH can ask for. */
#define FRAGMENT_MOST 4096u

static int look(void *context, unsigned extension, const unsigned char *data, unsigned length)
{
	unsigned *limit = context, told = TLS_RECORD_LIMIT_MOST;

	if (extension == MAX_FRAGMENT_LENGTH)
		told = FRAGMENT_MOST;
	if (extension == RECORD_SIZE_LIMIT && length == 2)
		told = (unsigned)data[0] << 8 | data[1];
	if (told < *limit)
		*limit = told;
	return 0;
}

unsigned tls_hello_record_limit(const gnutls_datum_t *hello)
{
	unsigned limit = TLS_RECORD_LIMIT_MOST;

	gnutls_ext_raw_parse(&limit, look, hello, GNUTLS_EXT_RAW_FLAG_TLS_CLIENT_HELLO);
	return limit;
}
