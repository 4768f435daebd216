/* client/dial.h -- one attempt to connect: libnbd's handle from the first look at the URI until its handshake is done.
 *
 * For the thread of the loop. Resolving the host's name, getaddrinfo(3), may hold it up; the rest never blocks.
 */
#pragma once

#include <libnbd.h>
#include <stdbool.h>
#include <stdint.h>

/* What a server says of what it may have lost; zeroes at the begin of a dial. docs/vnbd-namespace.md, "vnbd:verifier:". */
struct dial_verifier {
	bool asked, answered;
	uint64_t value; /* as hexadecimal digits; 0: it does not know that */
};

/* Room for a reason below. */
#define DIAL_WHY_SIZE 256

enum dial_progress { DIAL_GOES_ON, DIAL_DONE, DIAL_FAILED };

/* dial_begin() - a handle that is connecting, or has connected already.
 * @session: the name of a metadata context that tells whose connection it is (client/session_name.h); NULL: nobody's.
 * @verifier: as for dial_step().
 * Returns NULL, with the reason in @why: for an operator, without what @uri must not show. */
struct nbd_handle *dial_begin(
	const char *uri, const char *session, const struct dial_verifier *verifier, char why[DIAL_WHY_SIZE]);

/* Which descriptor is to be watched just now, and for what: EV_READ, EV_WRITE. It may be another after each step, of the
 * same number. Negative: none. */
int dial_fd(struct nbd_handle *nbd);
int dial_events(struct nbd_handle *nbd);

/* dial_step() - go on with what libev says of that descriptor; 0: see how far it has come.
 * @verifier: is asked for, and known at DIAL_DONE; NULL: it is not.
 * Returns DIAL_FAILED with the reason in @why. */
enum dial_progress dial_step(struct nbd_handle *nbd, const char *uri, struct dial_verifier *verifier,
	int revents, char why[DIAL_WHY_SIZE]);
