/* server/session.h -- the transmission phase of one connection: requests in, replies out.
 *
 * It starts with a connected socket and an agreed export and belongs to one worker. Its work is batched: what one receive
 * brought is parsed and submitted together, and the replies that are ready at the end of a turn leave in one send. It
 * has a bounded number of requests and bytes in flight (server/limits.h) and reads its socket only while there is room.
 * Spec: proto.md, "Transmission".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/close_reason.h"
#include "server/dialect.h"
#include "server/export.h"

struct identity;
struct lineage;
struct origin;
struct survey_entry;
struct tls_stream;
struct worker;
struct session;

/* session_new() - any thread.
 * @fd: a connected stream socket in blocking mode; the session's from now on, also on failure.
 * @export: a reference, the session's from now on, but not on failure.
 * @early: what the client sent behind its handshake, up to RECEIVE_BYTES; copied.
 * @peer: address_text() of the client; copied.
 * Returns NULL without memory. */
struct session *session_new(int fd, struct export *export, struct dialect dialect, const char *peer,
	const uint8_t *early, size_t early_length);

/* session_secure() - before session_hand_over(): what follows @early goes through @stream, which is the session's from now
 * on. */
void session_secure(struct session *session, struct tls_stream *stream);

/* session_secure_by_kernel() - likewise: the kernel has the records of @fd (server/tls_kernel.h). */
void session_secure_by_kernel(struct session *session);

/* session_belong() - before session_hand_over(): @origin is left when the connection is closed. */
void session_belong(struct session *session, struct origin *origin);

/* session_identify() - before session_hand_over(): who the client is, taken over, and the number of its connection; fault rules
 * ask for both. */
void session_identify(struct session *session, struct identity *who, uint64_t number);

/* session_descend() - before session_hand_over(): whose connection it is; copied. */
void session_descend(struct session *session, const struct lineage *lineage);

/* session_hand_over() - any thread: @worker serves it from now on, and frees it when it has ended. */
void session_hand_over(struct session *session, struct worker *worker);

/* The next in its worker's list. */
struct session *session_next(const struct session *session);

/* What it serves, until it has ended; for comparing. */
const struct export *session_export(const struct session *session);

/* Whose connection it is, as the client told. */
const struct lineage *session_lineage(const struct session *session);

/* The rest is for the worker's thread. A session frees itself, later, never inside one of these calls. */

/* session_describe() - who it is with, for an operator. Returns false without memory. */
bool session_describe(const struct session *session, struct survey_entry *out);

/* Take no more requests; end when those in flight are answered. */
void session_finish(struct session *session, enum close_reason reason);

/* End now: nothing more is sent. */
void session_kill(struct session *session, enum close_reason reason);

/* The same, also where it is dead already, but for requests that are to reach the disk later (ghosts): they never do. What is on
 * the disk now is all that it still waits for. */
void session_expel(struct session *session, enum close_reason reason);

/* What faults hold up goes on: where the rule has gone or has released it; or, if the worker drains, all of it. */
void session_look_at_faults(struct session *session);

/* TICK_MS have gone by: ends what has gone on for too long. Returns whether it is to be called again. */
bool session_tick(struct session *session);
