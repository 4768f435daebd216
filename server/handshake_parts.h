/* server/handshake_parts.h -- the inside of a handshake, for the files that make it up, and for nobody else.
 *
 *   handshake.c         its life, and what moves between its socket and its negotiation
 *   handshake_tls.c     TLS between the two
 *   handshake_faults.c  what fault rules do to it
 *
 * All of it is the main thread's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "conf/address.h"
#include "server/access.h"
#include "server/fault.h"
#include "server/handshake.h"
#include "server/negotiation.h"

struct handshake {
	struct handshake *next, **link; /* in handshakes */
	struct handshakes *all;		/* borrowed: outlives its handshakes */
	int fd;				/* owned, until a session takes it */
	ev_io on_ready;
	struct origin *origin; /* owned: our place in it, until a session takes it */
	ev_timer on_deadline;
	struct negotiation negotiation;
	struct identity who;
	struct tls_stream *tls; /* owned, until a session takes it; NULL: plain */
	size_t in_length;	/* plaintext */
	uint8_t in[NEGOTIATION_MESSAGE_MAX];
	uint64_t number;	       /* of the connection */
	struct succession *succession; /* borrowed: while those that it follows end; NULL: it does not wait */
	bool succeeded;		       /* waiting, it is followed by another already */
	/* What fault rules have to do with it. */
	struct {
		struct fault_verdict verdict;
		bool paused; /* nothing is said, and what comes waits */
		bool judged; /* in the handshake, too */
		ev_timer on_time;
	} fault;
	char peer[ADDRESS_TEXT_SIZE];
};

/* handshake.c */

void handshake_close(struct handshake *handshake, enum close_reason reason);

/* The loop calls for EV_READ or EV_WRITE of the socket, and for nothing else. */
void handshake_wait_for(struct handshake *handshake, int events);

/* As far as it can: sends, takes the next message, hands over. May free @handshake. */
void handshake_advance(struct handshake *handshake);

/* What the negotiation has to say. */
struct iovec handshake_out(struct handshake *handshake);

/* Returns bytes sent, or -errno. */
ssize_t handshake_send_some(int fd, const struct iovec *bytes);

/* Returns 0 when all has left, -EAGAIN when the socket is full, or -errno. */
int handshake_send_out(struct handshake *handshake);

/* handshake_tls.c */

/* Moves the negotiation's bytes into the stream, and the stream's into the socket. Returns as handshake_send_out(). */
int handshake_send_out_tls(struct handshake *handshake);

/* The ACK to STARTTLS has left: the TLS handshake goes on. Returns whether it is over: the negotiation goes on in TLS. May free
 * @handshake. */
bool handshake_secure(struct handshake *handshake);

/* Takes plaintext from the stream, as far as there is room for it. Returns 0, also where there is none, or -errno;
 * -ENODATA: the client has ended the stream. */
int handshake_decrypt(struct handshake *handshake);

/* "the party initiating the transaction SHOULD shutdown TLS first": or else the end looks like somebody else's cut. As far as the
 * socket takes it at once. */
void handshake_end_stream(const struct handshake *handshake);

/* The kernel goes on with the stream, where it can. Returns 0 with @taken, or -errno: the connection is lost. */
int handshake_secure_by_kernel(struct handshake *handshake, bool *taken);

/* handshake_faults.c */

void handshake_faults_init(struct handshake *handshake);

/* Returns whether the handshake stops here, or has ended, because a rule for @operation wants it. */
bool handshake_meets_fault(struct handshake *handshake, enum fault_operation operation);

/* What a client that is held up says waits as far as there is room; a black hole swallows it. */
void handshake_take_in(struct handshake *handshake);
