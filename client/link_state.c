/* client/link_state.c -- the table behind the drawing. */
#include "client/link_state.h"

#include <assert.h>

/* One more than the next state, so that an empty cell is a move not drawn. */
#define TO(state) ((state) + 1)

static const unsigned char moves[LINK_STATES][LINK_EVENTS] = {
	[LINK_DOWN] = { [LINK_DIAL] = TO(LINK_DIALLING) },
	[LINK_DIALLING] = { [LINK_UP] = TO(LINK_REPLAYING), [LINK_LOST] = TO(LINK_DOWN) },
	[LINK_REPLAYING] = { [LINK_REPLAYED] = TO(LINK_READY), [LINK_LOST] = TO(LINK_DOWN) },
	[LINK_READY] = { [LINK_RENEW] = TO(LINK_DRAINING), [LINK_LOST] = TO(LINK_DOWN) },
	[LINK_DRAINING] = { [LINK_DRAINED] = TO(LINK_DOWN),
		[LINK_KEPT] = TO(LINK_READY),
		[LINK_LOST] = TO(LINK_DOWN) },
};

static const char *const names[LINK_STATES] = {
	[LINK_DOWN] = "down",
	[LINK_DIALLING] = "dialling",
	[LINK_REPLAYING] = "replaying",
	[LINK_READY] = "ready",
	[LINK_DRAINING] = "draining",
};

int link_may_move(enum link_state state, enum link_event event)
{
	return moves[state][event] != 0;
}

enum link_state link_move(enum link_state state, enum link_event event)
{
	assert(link_may_move(state, event));
	return (enum link_state)(moves[state][event] - 1);
}

const char *link_state_name(enum link_state state)
{
	return names[state];
}
