/* client/dial.c -- libnbd's state machine, up to the end of the handshake. */
#include "client/dial.h"

#include <dlfcn.h>
#include <ev.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/nbd_error.h"
#include "client/trust.h"
#include "server/nbd_wire.h"

/* libnbd asks for extended headers from 1.18 on, unless told otherwise; the socket engine does not speak them, and no command of
 * ours needs them. Looked for when we run: we may have been built with an older one. */
static void decline_extended_headers(struct nbd_handle *nbd)
{
	int (*request)(struct nbd_handle * nbd, bool request);

	*(void **)&request = dlsym(RTLD_DEFAULT, "nbd_set_request_extended_headers");
	if (request)
		request(nbd, false);
}

/* In the handshake. Returns 0 or -1, and libnbd says why. */
static int tell_and_ask(struct nbd_handle *nbd, const char *session, const struct dial_verifier *verifier)
{
	if (session && nbd_add_meta_context(nbd, session))
		return -1;
	return verifier ? nbd_add_meta_context(nbd, NBD_CONTEXT_VERIFIER) : 0;
}

struct nbd_handle *dial_begin(
	const char *uri, const char *session, const struct dial_verifier *verifier, char why[DIAL_WHY_SIZE])
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
	if (tell_and_ask(nbd, session, verifier) == 0 && nbd_aio_connect_uri(nbd, uri) == 0)
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

static int on_extents(void *user_data, const char *context, uint64_t offset, uint32_t *entries,
	size_t entry_count, int *error)
{
	struct dial_verifier *verifier = user_data;
	size_t prefix = strlen(NBD_CONTEXT_VERIFIER);

	(void)offset;
	(void)entries;
	(void)entry_count;
	(void)error;
	if (strncmp(context, NBD_CONTEXT_VERIFIER, prefix) == 0)
		verifier->value = strtoull(context + prefix, NULL, 16);
	return 0;
}

static int on_status(void *user_data, int *error)
{
	struct dial_verifier *verifier = user_data;

	(void)error;
	verifier->answered = true;
	return 1;
}

/* Of a length that every block size up to the largest divides; in an export that is shorter it is an error, and nothing is known. */
#define STATUS_LENGTH 65536u

/* The verifier is the name of a context, which libnbd shows with the status of blocks alone. Returns whether it is known, or will not
 * be. */
static bool ask_verifier(struct nbd_handle *nbd, struct dial_verifier *verifier)
{
	nbd_extent_callback extents = { .callback = on_extents, .user_data = verifier };
	nbd_completion_callback status = { .callback = on_status, .user_data = verifier };

	if (verifier->asked)
		return verifier->answered;
	verifier->asked = true;
	if (nbd_aio_block_status(nbd, STATUS_LENGTH, 0, extents, status, 0) < 0)
		verifier->answered = true;
	return verifier->answered;
}

static bool is_done(struct nbd_handle *nbd, struct dial_verifier *verifier)
{
	return nbd_aio_is_ready(nbd) && (!verifier || ask_verifier(nbd, verifier));
}

enum dial_progress dial_step(struct nbd_handle *nbd, const char *uri, struct dial_verifier *verifier,
	int revents, char why[DIAL_WHY_SIZE])
{
	int waits_for = dial_events(nbd) & revents;
	int failed = 0;

	if (waits_for & EV_READ)
		failed = nbd_aio_notify_read(nbd);
	else if (waits_for & EV_WRITE)
		failed = nbd_aio_notify_write(nbd);
	if (failed) {
		libnbd_why(uri, why, DIAL_WHY_SIZE);
		return DIAL_FAILED;
	}
	if (nbd_aio_is_closed(nbd)) {
		snprintf(why, DIAL_WHY_SIZE, "the server closed the connection");
		return DIAL_FAILED;
	}
	return is_done(nbd, verifier) ? DIAL_DONE : DIAL_GOES_ON;
}
