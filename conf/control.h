/* conf/control.h -- the control socket: JSON lines in, JSON lines out; the daemon registers what it answers.
 *
 *	{"command": NAME, "arguments": {...}, "id": ANY}
 *	{"id": ANY, "ok": true, "result": ...}
 *	{"id": ANY, "ok": false, "error": "one line"}
 *
 * "arguments" and "id" may be left out. Replies come in any order; "id" tells whose they are. Whoever may open the socket
 * is an operator, and may do everything; still, whatever comes is checked, and everything that it can take is bounded:
 * a controller that is slow, hostile or gone holds up nobody but itself.
 *
 * All of it belongs to the loop's thread. The command "help" is there already: it lists what was registered.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/loop.h"

/* Connections at a time: people, scripts and a monitor. One more is told so and closed. */
#define CONTROL_CONNECTIONS_MAX 16u

/* Calls of one connection that wait for their answers; then its socket is not read. */
#define CONTROL_CALLS_MAX 16u

/* Tables that one daemon may register. */
#define CONTROL_TABLES_MAX 16u

struct control;
struct control_call; /* one request being answered */

struct control_command {
	const char *name;      /* "fault-add": what stands in the request's "command" */
	const char *arguments; /* for help: e.g. "EXPORT RULE" */
	const char *help;      /* a sentence */
	/* Answers now or later, exactly once, by control_answer() or control_refuse(), on the loop's thread.
	 * @arguments: an object, perhaps an empty one; it lives until the answer. control_take() checks it. */
	void (*run)(void *context, struct control_call *call, const json_t *arguments);
};

/* control_open() - listen at @address, unix:PATH, with mode 0600; a file that a dead process left there is replaced.
 * Returns 0, or -1 with the reason in @why: "unix:PATH: ...". */
int control_open(struct loop *loop, const char *address, struct control **out, char *why, size_t why_size);

/* control_register() - @commands, which ends with a NULL name, is what we answer, too; both are borrowed and outlive
 * @control. No name may be in two tables. */
void control_register(struct control *control, const struct control_command *commands, void *context);

/* The end of a call, after which it is gone, along with the arguments. The caller of that time may have hung up, and the
 * control may be closed: then nobody hears it.
 * @result: the reference is taken over; NULL: {}. One line of more than CONTROL_REPLY_MAX is refused instead. */
void control_answer(struct control_call *call, json_t *result);
__attribute__((format(printf, 2, 3))) void control_refuse(struct control_call *call, const char *format, ...);

/* Closes the socket and every connection, and removes the file; NULL is allowed. Calls still have to be answered. */
void control_close(struct control *control);

/* What one argument is, and the type of the field that takes it. */
enum control_kind {
	CONTROL_TEXT,	 /* const char *: in @arguments */
	CONTROL_NUMBER,	 /* uint64_t: an integer from 0 on */
	CONTROL_SECONDS, /* double: a number from 0 on */
	CONTROL_FLAG,	 /* bool */
};

struct control_argument {
	const char *name;
	enum control_kind kind;
	bool needed;
	size_t offset; /* of the field, in the struct that takes it */
};

/* control_take() - put each of @arguments into its field of the struct at @out, as @rows, which end with a NULL name, say.
 * Fields of arguments that are left out stay as they are. @rows NULL: there are no arguments.
 * Returns whether all was right; if not, @call was refused and is gone: an argument is missing, of another kind, or in no
 * row. */
bool control_take(
	struct control_call *call, const json_t *arguments, const struct control_argument *rows, void *out);
