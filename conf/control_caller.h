/* conf/control_caller.h -- the other end of a control socket: one question, one answer. */
#pragma once

#include <jansson.h>
#include <stddef.h>

enum control_outcome {
	CONTROL_ANSWERED,
	CONTROL_REFUSED,     /* the server has refused it */
	CONTROL_UNREACHABLE, /* no connection, or it ended before the answer */
};

/* control_ask() - connect to the Unix socket at @path, and have @command carried out with @arguments, which are borrowed.
 * Waits for the answer as long as the server takes. With CONTROL_ANSWERED, @result is a new reference; else @why has the
 * reason (CONTROL_WHY_SIZE bytes). */
enum control_outcome control_ask(
	const char *path, const char *command, json_t *arguments, json_t **result, char *why);
