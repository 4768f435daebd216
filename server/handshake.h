/* server/handshake.h -- connections on the main thread, from accept(2) until a worker can take them.
 *
 * Each has a deadline and bounded buffers; what is said in them is server/negotiation.h's.
 */
#pragma once

#include <stdint.h>

#include "conf/loop.h"
#include "server/close_reason.h"
#include "server/export.h"
#include "server/peer.h"
#include "server/tls.h"

struct fault_set;
struct handshake;
struct origin;
struct session;
struct successions;

struct handshakes {
	struct loop *loop;	       /* borrowed: the main thread's, outlives us */
	const struct exports *exports; /* borrowed: constant while we are open */
	const struct tls *tls;	       /* borrowed: may be reloaded between two handshakes */
	/* Takes over a session that is ready for a worker. */
	void (*ready)(struct handshakes *handshakes, struct session *session);
	/* NULL, or: a connection has ended before it was ready. */
	void (*lost)(struct handshakes *handshakes);
	struct fault_set *faults;	 /* borrowed: the server's rules; NULL: there can be none */
	struct successions *successions; /* borrowed: outlives us; NULL: nobody waits for those it follows */
	unsigned deadline_s;
	uint64_t count;		 /* of connections until now */
	struct handshake *first; /* owned */
};

/* @deadline_s: for each, from handshake_start() on. */
void handshakes_init(struct handshakes *handshakes, struct loop *loop, const struct exports *exports,
	const struct tls *tls, unsigned deadline_s,
	void (*ready)(struct handshakes *handshakes, struct session *session));

/* handshake_start() - greet the client.
 * @fd: a connected stream socket in blocking mode; taken over, whatever happens.
 * @peer: copied. @origin: left when the connection has ended. */
void handshake_start(struct handshakes *handshakes, int fd, const struct peer *peer, struct origin *origin);

/* Ends those that have chosen @export, or have been told something about it that holds no longer. */
void handshakes_expel(struct handshakes *handshakes, const struct export *export, enum close_reason reason);

/* Those that a fault rule holds up go on, if it has gone or has released them. */
void handshakes_look_at_faults(struct handshakes *handshakes);

/* Ends all that are not ready. */
void handshakes_close(struct handshakes *handshakes, enum close_reason reason);
