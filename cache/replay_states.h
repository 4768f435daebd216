/* cache/replay_states.h -- the image of one state after the other, each made from what they have in common.
 *
 * What is settled at a moment (cache/crash.h) is in a file without a name beside the output; a state is a copy of it, and the
 * rest on top. So many states of rising moments cost little more each than what is not settled.
 */
#pragma once

#include "cache/replay.h"

struct replay_states {
	const struct replay *replay; /* borrowed: by the caller, as the history is */
	const struct history *history;
	struct crash crash;
	int settled, output; /* owned */
};

/* Returns 0, or -1 and the log tells why. */
int replay_states_init(
	struct replay_states *states, const struct replay *replay, const struct history *history);
void replay_states_fini(struct replay_states *states);

/* replay_states_move() - to a moment not before the one it is at. Returns 0, or -1 and the log tells why. */
int replay_states_move(struct replay_states *states, uint64_t at);

/* replay_states_make() - the output becomes what @choice makes of this moment. Returns 0, or -1 and the log tells why. */
int replay_states_make(struct replay_states *states, const struct crash_choice *choice);
