/* server/fault_control.h -- fault rules through the control socket: fault-add, fault-list, fault-remove, fault-clear,
 * fault-release. The names of arguments and results are in vnbd-fault(7).
 */
#pragma once

#include "conf/control.h"

/* For control_register(), with the struct server as its context. */
extern const struct control_command fault_commands[];
