/* client/link_state.h -- where an NBD session stands, and which way it may go.
 *
 *   DOWN --dial--> DIALLING --up--> REPLAYING --replayed--> READY --renew--> DRAINING
 *     ^                |               |                   | ^               | |
 *     +---- lost ------+----- lost ----+------- lost ------+ +---- kept -----+ |
 *     +------------------------------------------------------ lost, drained ---+
 *
 * DOWN       no connection; a timer runs until the next dial.
 * DIALLING   connecting and negotiating, under a deadline.
 * REPLAYING  connected; what is done and not flushed goes first, where it is kept and the server may have lost it; then
 *            requests that were in flight on the lost connection. New ones wait.
 * READY      every request goes out at once.
 * DRAINING   connected, and to be connected anew: what is in flight ends here, new requests wait for the next connection.
 *
 * libnbd's dead handle is final: DOWN means that the next dial makes a new one.
 */
#pragma once

enum link_state { LINK_DOWN, LINK_DIALLING, LINK_REPLAYING, LINK_READY, LINK_DRAINING, LINK_STATES };
enum link_event {
	LINK_NOTHING,
	LINK_DIAL,
	LINK_UP,
	LINK_REPLAYED,
	LINK_RENEW,
	LINK_DRAINED,
	LINK_KEPT,
	LINK_LOST,
	LINK_EVENTS
};

/* link_move() - the state after @event in @state; aborts on a move that is not drawn above. */
enum link_state link_move(enum link_state state, enum link_event event);

/* link_may_move() - whether that move is drawn. */
int link_may_move(enum link_state state, enum link_event event);

const char *link_state_name(enum link_state state);
