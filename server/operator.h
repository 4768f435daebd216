/* server/operator.h -- what vnbd-server answers on its control socket, beside what its parts register themselves:
 * version, exports, connections. The names of arguments and results are in vnbd-control(7).
 */
#pragma once

#include "conf/control.h"

/* For control_register(), with the struct server as its context. */
extern const struct control_command operator_commands[];
