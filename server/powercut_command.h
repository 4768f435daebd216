/* server/powercut_command.h -- the power cut, for who has the control socket.
 *
 * {"export": NAME, "keep": "none" | "all" | "random", "torn": 512 | 4096, "seed": N, "down": SECONDS}, all but export may be left
 * out: keep none, no write torn, a seed of our own, back at once. Answered when what survived is on the disk:
 * {"kept": N, "lost": N, "torn": N, "seed": N, "verifier": 16 hexadecimal digits}.
 */
#pragma once

#include "conf/control.h"

/* For control_register(), with the struct server as its context. */
extern const struct control_command powercut_commands[];
