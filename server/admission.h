/* server/admission.h -- how many connections there may be, in all and from one origin, so that one client, or one that is
 * broken and connects again and again, leaves room for others.
 *
 * An origin is what a client cannot change at will: an IPv4 address, the /64 network of an IPv6 address, the user of a process
 * at the other end of a Unix socket, the CID of a virtual machine.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/close_reason.h"
#include "server/peer.h"

struct origin;

#define ADMISSION_BUCKETS 1024

struct admission {
	unsigned connections_max, per_origin_max;
	atomic_uint connections; /* shared: the main thread adds, whoever ends one subtracts */
	uint64_t seed;		 /* so that nobody can choose origins that all meet in one bucket */
	struct origin *buckets[ADMISSION_BUCKETS]; /* owned; the main thread's */
};

void admission_init(struct admission *admission, unsigned connections_max, unsigned per_origin_max);
/* After every origin_leave(). */
void admission_fini(struct admission *admission);

/* admission_enter() - one more connection, of @peer; the main thread's.
 * Returns whether it may be; if so, @out is to be given to origin_leave() once it has ended, or else @why tells. */
bool admission_enter(
	struct admission *admission, const struct peer *peer, struct origin **out, enum close_reason *why);

/* One less; any thread. */
void origin_leave(struct origin *origin);
