/* server/session_parts.h -- the inside of a session, for the files that make it up, and for nobody else.
 *
 *   session.c          birth, turn, end of life
 *   session_receive.c  socket to bytes
 *   session_take.c     bytes to requests, as far as there is room
 *   session_memory.c   the room: what it may hold of the server's memory
 *   session_request.c  one request: to the disk, and back with its answer
 *   session_faults.c   one request to which fault rules do something, instead of straight to the disk and back
 *   session_send.c     answers to socket
 *   session_end.c      how it comes to an end, and how long that may take
 *
 * All of it is begun in one place, session_turn(), and belongs to the worker's thread.
 *
 * S1  At most one receive and one send of a session are in the ring, so the stream keeps its order.
 * S2  A buffer that the ring or the disk may still touch is not released: the payload being received until the receive
 *     has ended, the data of replies until their send has ended, a request on the disk until it is done.
 * S3  A request is in exactly one place: being received (in.request), on the disk (counted in on_disk), in the hands of
 *     faults, or in out.box.
 *     requests counts all of them.
 * S4  A session is freed only in DYING, by session_turn(), when nothing of it is in the ring, on the disk, in the hands of
 *     faults or queued for the end of the turn, and no claim waits.
 * S5  bytes are at most CONNECTION_RESERVE and credit.
 *
 * With TLS the ring moves ciphertext between the socket and the stream's buffers; requests are parsed from what the stream
 * decrypts, and the outbox's message is encrypted a buffer at a time. Nothing else differs. Where the kernel has the records
 * (server/tls_kernel.h), the socket is like a plain one, but for records that are no data. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

#include "cache/uring.h"
#include "conf/address.h"
#include "conf/mailbox.h"
#include "server/admission.h"
#include "server/budget.h"
#include "server/limits.h"
#include "server/lineage.h"
#include "server/outbox.h"
#include "server/request.h"
#include "server/session.h"
#include "server/tls_kernel.h"
#include "server/tls_stream.h"
#include "server/worker.h"

/*  OPEN --disconnect, hangup, drain--> FINISHING --all answered--> DYING --idle--> freed
 *    |                                     |  \--drained, replies on the way--> LINGERING --arrived--^
 *    +---- broken, bad request ------------+----------- also from LINGERING -------^             */
enum session_state { SESSION_OPEN, SESSION_FINISHING, SESSION_LINGERING, SESSION_DYING };

struct session {
	struct session *next, **link; /* in the worker's list */
	struct worker *worker;	      /* borrowed: ends after its sessions */
	struct export *export;	      /* owned: a reference */
	struct origin *origin;	      /* owned: our place in it */
	struct tls_stream *tls;	      /* owned; NULL: plain, or the kernel's */
	bool tls_by_kernel;	      /* fd is like that of a plain one */
	bool tls_ended;		      /* its last record is written */
	bool cancelling;	      /* cancel is in the ring */
	bool claiming;		      /* the claim waits, or its letter is on the way */
	struct dialect dialect;
	enum session_state state;
	enum close_reason reason; /* from FINISHING on */
	int fd;			  /* owned */
	struct uring_task turn;
	struct mail arrival;
	struct uring_op cancel; /* of the receive */

	unsigned requests, on_disk;
	size_t bytes;  /* buffers of all requests, up to CONNECTION_BYTES_MAX */
	size_t credit; /* of the server's memory: how many of them there may be beyond CONNECTION_RESERVE */
	struct claim claim;
	unsigned ending_ticks;	/* in FINISHING, while nothing is on the disk */
	unsigned turn_requests; /* begun in this turn, up to TURN_REQUESTS_MAX if others have some */
	size_t turn_bytes;	/* data of the requests begun in this batch, up to TURN_BYTES_MAX */

	struct {
		struct uring_op op;
		bool armed;
		bool stalled;	     /* what waits in bytes finds no room: do not receive */
		bool yielded;	     /* to others: the batch goes on in the next turn */
		bool more;	     /* the socket had more: do not poll first */
		int whole;	     /* MSG_WAITALL, or 0 */
		bool bulk;	     /* large payloads are coming: receive a header alone */
		int ended;	     /* 0, or the end of the stream as -errno; -ENODATA: in order */
		bool little;	     /* what came last would have fitted into a small buffer */
		bool small;	     /* the receive takes one of the worker's small buffers */
		struct buffer *full; /* owned: RECEIVE_BYTES; NULL: there is none, or a small one */
		uint8_t *
			bytes; /* in it, or owned: a small one; NULL: nothing was received that is not yet taken */
		size_t start, end;
		uint8_t *early; /* owned: the first bytes, early_length of them, until there is a worker */
		size_t early_length;
		struct request
			*request; /* its payload is being received; without a buffer it is thrown away */
		uint32_t rest;	  /* bytes of that payload still to come */
		unsigned ticks;	  /* since its header came */
		size_t direct;	  /* the receive's first bytes that go to that payload's buffer */
		struct iovec iov[2];
		struct msghdr message;
	} in;

	struct {
		struct uring_op op;
		bool armed;
		bool quiet;		/* only its failure, or a part that is left, completes */
		struct uring_task left; /* a quiet one has left, unless it has completed */
		unsigned ticks;		/* since the message was packed */
		struct outbox box;
	} out;

	/* What fault rules have to do with it. */
	struct {
		struct injection *first; /* owned: a list */
		unsigned overtaken;	 /* of them, replies that the next one is to overtake */
		bool banned;		 /* ghosts do not reach the disk */
	} faults;
	struct identity who;
	uint64_t number; /* of the connection, since the server began */
	struct lineage lineage;

	char peer[ADDRESS_TEXT_SIZE];
	time_t since; /* our beginning */
};

/* session.c */

/* There may be something to do at the end of the worker's turn. */
void session_wake(struct session *session);

/* session_receive.c */

/* @early: the stream's first bytes, at most RECEIVE_BYTES. Returns false without memory. */
bool session_receive_init(struct session *session, const uint8_t *early, size_t early_length);
void session_receive_fini(struct session *session);

/* The session has a worker. */
void session_receive_begin(struct session *session);

/* Receive, unless there is no need or no room. */
void session_receive(struct session *session);

/* Nothing more is wanted of the socket; in.armed tells when that has come to pass. */
void session_stop_receiving(struct session *session);

/* With TLS: the stream's next bytes, straight into the request's buffer, or behind the bytes that wait. Returns whether
 * it had any. */
bool session_decrypt(struct session *session);

/* Where the rest of the payload that is being received goes; its request has a buffer. */
uint8_t *session_payload_rest(const struct session *session);

/* A request whose payload will not come to its end. */
void session_drop_partial(struct session *session);

/* session_take.c */

/* Begin the requests that were received, as far as there is room for them, and notice the end of the stream. */
void session_take_requests(struct session *session);

/* session_memory.c */

void session_memory_init(struct session *session);

/* Whether there may be @bytes in all; if not, the session is woken when there may. */
bool session_has_memory(struct session *session, size_t bytes);

/* Do not wait for memory any more. */
void session_withdraw_claim(struct session *session);

/* What is not needed any more is for others. */
void session_return_credit(struct session *session);

/* session_request.c */

/* @request's header and payload, if any, are here: it goes to the disk, or is answered. */
void session_start(struct session *session, struct request *request);

/* In two steps: everything of @request's block but range and flags, which command_check() wrote, and block.done; and what
 * the disk says to it. */
void session_prepare_block(struct session *session, struct request *request);
int session_submit_block(struct session *session, struct request *request);

/* What the client is told of the disk's @status. */
int session_status_of(struct session *session, struct request *request, int status);

/* @request goes to out.box. */
void session_answer(struct session *session, struct request *request, int status);

/* @request is in no place any more. */
void session_release(struct session *session, struct request *request);
void session_release_all(struct session *session, struct request_list *list);

/* session_faults.c */

/* session_meet_faults() - hold @request, which is ready for the disk, against the rules of its export.
 * Returns whether they do something to it: then it is in their hands. */
bool session_meet_faults(struct session *session, struct request *request);

/* session_pack_odd() - before what is in out.box is packed: replies that it overtakes are put behind it; and one that was made
 * as raw bytes, if there is one, is the next message. Returns whether it is.
 * session_odd_sent() - a message has left, or never will. */
bool session_pack_odd(struct session *session);
void session_odd_sent(struct session *session);

/* The session dies, and what it need not do any more, it does not. */
void session_faults_die(struct session *session);

/* And after its death nothing that waits reaches the disk, not even a ghost. */
void session_ban_ghosts(struct session *session);

/* Whether all is done. */
static inline bool session_has_faults(const struct session *session)
{
	return session->faults.first;
}

/* session_send.c */

void session_send_init(struct session *session);

/* Send what replies there are, unless others are on their way. */
void session_send_replies(struct session *session);

/* Whether something has to be done as soon as the send has ended, though nothing completes that would wake the ring. */
bool session_awaits_quiet_send(const struct session *session);

/* "shut down the TLS session (if one is running)": a client that has hung up, or takes nothing, is not waited for.
 * Returns whether it is on its way. */
bool session_end_stream(struct session *session);

/* session_end.c */

/* At the end of its turn: what it does not need any more, and what comes after the state it is in. */
void session_settle(struct session *session);
