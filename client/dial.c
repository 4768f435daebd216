/* client/dial.c -- libnbd's state machine, up to the end of the handshake. */
#include "client/dial.h"

#include <dlfcn.h>
#include <ev.h>
#include <stdbool.h>
#include <stdio.h>

#include "client/nbd_error.h"
#include "client/trust.h"

/* libnbd asks for extended headers from 1.18 on, unless told otherwise; the socket engine does not speak them, and no command of
 * ours needs them. Looked for when we run: we may have been built with an older one. */
static void decline_extended_headers(struct nbd_handle *nbd)
{
	int (*request)(struct nbd_handle * nbd, bool request);

	*(void **)&request = dlsym(RTLD_DEFAULT, "nbd_set_request_extended_headers");
	if (request)
		request(nbd, false);
}

struct nbd_handle *dial_begin(const char *uri, const char *session, char why[DIAL_WHY_SIZE])
{
	struct nbd_handle *nbd;

	_Static_assert(DIAL_WHY_SIZE >= TRUST_WHY_SIZE, "room for the reason");
	if (trust_check(uri, why))
		return NULL;
	snprintf(why, DIAL_WHY_SIZE, "out of memory");
	nbd = nbd_create();
	if (!nbd)
		return NULL;
	/* The operator wrote the URI: it may name files with keys. */
	nbd_set_uri_allow_local_file(nbd, true);
	/* disk_check() and command_cut() have done what libnbd would check again. */
	nbd_set_strict_mode(nbd, 0);
	/* A read that succeeds fills its buffer; a server that lies can only show a guest its own memory. */
	nbd_set_pread_initialize(nbd, false);
	decline_extended_headers(nbd);
	if ((!session || nbd_add_meta_context(nbd, session) == 0) && nbd_aio_connect_uri(nbd, uri) == 0)
		return nbd;
	libnbd_why(uri, why, DIAL_WHY_SIZE);
	nbd_close(nbd);
	return NULL;
}

int dial_fd(struct nbd_handle *nbd)
{
	return nbd_aio_get_fd(nbd);
}

int dial_events(struct nbd_handle *nbd)
{
	unsigned direction = nbd_aio_get_direction(nbd);

	return (direction & LIBNBD_AIO_DIRECTION_READ ? EV_READ : 0) |
	       (direction & LIBNBD_AIO_DIRECTION_WRITE ? EV_WRITE : 0);
}

enum dial_progress dial_step(struct nbd_handle *nbd, const char *uri, int revents, char why[DIAL_WHY_SIZE])
{
	int waits_for = dial_events(nbd) & revents;
	int failed = 0;

	if (waits_for & EV_READ)
		failed = nbd_aio_notify_read(nbd);
	else if (waits_for & EV_WRITE)
		failed = nbd_aio_notify_write(nbd);
	if (failed)
		libnbd_why(uri, why, DIAL_WHY_SIZE);
	else if (nbd_aio_is_closed(nbd))
		snprintf(why, DIAL_WHY_SIZE, "the server closed the connection");
	else
		return nbd_aio_is_ready(nbd) ? DIAL_DONE : DIAL_GOES_ON;
	return DIAL_FAILED;
}
