/* conf/controller.h -- the connections of a control socket: lines in, calls, lines out. For control.c alone.
 *
 * All of it belongs to the loop's thread.
 */
#pragma once

#include "conf/control.h"

struct controllers {
	struct loop *loop; /* borrowed: outlives us */
	/* A line asks for @command; @arguments live until control_answer() or control_refuse(), one of which has to follow. */
	void (*dispatch)(struct controllers *controllers, struct control_call *call, const char *command,
		const json_t *arguments);
	struct controller *first; /* owned, until closed */
	unsigned count;
};

/* controllers_add() - @fd, which is taken over, is a connection. One more than CONTROL_CONNECTIONS_MAX is told so and closed. */
void controllers_add(struct controllers *controllers, int fd);

/* Closes all. Calls still have to be answered. */
void controllers_close(struct controllers *controllers);
