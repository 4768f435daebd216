/* conf/controller.c -- connections of operators on the main loop.
 *
 * C1  A connection is freed when it is closed and none of its calls is left: an answer always finds it.
 * C2  in holds one line at most, calls are CONTROL_CALLS_MAX at most, and out CONTROL_REPLY_MAX bytes of results.
 * C3  While a connection has not taken its replies, none of its lines is looked at. */
#include "conf/controller.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/control_line.h"

struct controller {
	struct controller *next, **link; /* in all; link NULL: closed */
	struct controllers *all;	 /* borrowed; NULL: closed */
	int fd;				 /* owned; -1: closed */
	ev_io on_ready;
	unsigned calls; /* whose answers are missing */
	bool busy;	/* in advance(), which frees it itself */
	bool ended;	/* it sends nothing more, or nothing more of it is read */
	bool broken;	/* nothing can be sent */
	size_t in_length;
	char *out; /* owned */
	size_t out_length, out_sent;
	char in[CONTROL_LINE_MAX];
};

struct control_call {
	struct controller *controller; /* borrowed: C1 */
	struct control_request request;
};

/* -- connections -------------------------------------------------------------------------------------------------- */

/* C1 */
static void free_if_done(struct controller *controller)
{
	if (controller->all || controller->calls > 0 || controller->busy)
		return;
	free(controller->out);
	free(controller);
}

static void close_connection(struct controller *controller)
{
	struct controllers *all = controller->all;

	ev_io_stop(all->loop->ev, &controller->on_ready);
	close(controller->fd);
	if (controller->next)
		controller->next->link = controller->link;
	*controller->link = controller->next;
	all->count--;
	controller->all = NULL;
	free_if_done(controller);
}

static void wait_for(struct controller *controller, int events)
{
	struct ev_loop *ev = controller->all->loop->ev;

	if (ev_is_active(&controller->on_ready) &&
		(controller->on_ready.events & (EV_READ | EV_WRITE)) == events)
		return;
	ev_io_stop(ev, &controller->on_ready);
	ev_io_set(&controller->on_ready, controller->fd, events);
	if (events)
		ev_io_start(ev, &controller->on_ready);
}

/* @line, which may be NULL for want of memory, is taken over: a controller that misses a reply must not wait for it. */
static void queue(struct controller *controller, char *line, size_t length)
{
	char *more = line ? realloc(controller->out, controller->out_length + length) : NULL;

	if (more) {
		memcpy(more + controller->out_length, line, length);
		controller->out = more;
		controller->out_length += length;
	} else {
		controller->broken = true;
	}
	free(line);
}

static void queue_error(struct controller *controller, json_t *id, const char *why)
{
	size_t length = 0;
	char *line = control_error_line(id, why, &length);

	queue(controller, line, length);
}

/* Sends what waits, as far as the socket takes it. */
static void flush(struct controller *controller)
{
	while (controller->out_sent < controller->out_length && !controller->broken) {
		ssize_t sent = send(controller->fd, controller->out + controller->out_sent,
			controller->out_length - controller->out_sent, MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent >= 0)
			controller->out_sent += (size_t)sent;
		else if (errno != EINTR)
			controller->broken = true;
	}
	free(controller->out);
	controller->out = NULL;
	controller->out_length = controller->out_sent = 0;
}

/* -- calls -------------------------------------------------------------------------------------------------------- */

static void end_call(struct control_call *call)
{
	struct controller *controller = call->controller;

	controller->calls--;
	control_request_fini(&call->request);
	free(call);
	/* advance() does the rest, when this turn has come to an end. */
	if (controller->all)
		wait_for(controller, EV_WRITE);
	else
		free_if_done(controller);
}

static void refuse(struct control_call *call, const char *why)
{
	if (call->controller->all)
		queue_error(call->controller, call->request.id, why);
	end_call(call);
}

void control_answer(struct control_call *call, json_t *result)
{
	struct controller *controller = call->controller;
	size_t length = 0;
	char *line;

	if (!controller->all) {
		json_decref(result);
		end_call(call);
		return;
	}
	line = control_reply_line(call->request.id, result ? result : json_object(), &length);
	if (line && controller->out_length + length > CONTROL_REPLY_MAX) {
		free(line);
		refuse(call, "the answer is too long, with those before it that were not read");
		return;
	}
	queue(controller, line, length);
	end_call(call);
}

void control_refuse(struct control_call *call, const char *format, ...)
{
	char why[CONTROL_WHY_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	refuse(call, why);
}

static void take_line(struct controller *controller, const char *line, size_t length)
{
	struct control_call *call = calloc(1, sizeof(*call));
	char why[CONTROL_WHY_SIZE];

	if (!call) {
		controller->broken = true;
		return;
	}
	call->controller = controller;
	controller->calls++;
	if (control_request_parse(line, length, &call->request, why))
		refuse(call, why);
	else
		controller->all->dispatch(
			controller->all, call, call->request.command, call->request.arguments);
}

/* C2, C3 */
static bool may_take(const struct controller *controller)
{
	return controller->all && !controller->broken && controller->out_length == 0 &&
	       controller->calls < CONTROL_CALLS_MAX;
}

static char *next_newline(struct controller *controller)
{
	return memchr(controller->in, '\n', controller->in_length);
}

/* One a turn: the loop has more to do than this. */
static void take_next_line(struct controller *controller)
{
	char *newline = may_take(controller) ? next_newline(controller) : NULL;
	size_t length;

	if (!newline)
		return;
	length = (size_t)(newline - controller->in);
	take_line(controller, controller->in, length);
	controller->in_length -= length + 1;
	memmove(controller->in, newline + 1, controller->in_length);
}

/* Where the next line begins is not known any more. */
static void refuse_long_line(struct controller *controller)
{
	char why[64];

	snprintf(why, sizeof(why), "a line has up to %u bytes", CONTROL_LINE_MAX);
	queue_error(controller, NULL, why);
	controller->ended = true;
	controller->in_length = 0;
}

/* What to wait for; 0: an answer. */
static int events_of(struct controller *controller)
{
	if (controller->out_length > 0)
		return EV_WRITE;
	if (controller->calls == CONTROL_CALLS_MAX)
		return 0;
	if (next_newline(controller))
		return EV_WRITE;
	return controller->ended ? 0 : EV_READ;
}

/* May free @controller. */
static void advance(struct controller *controller)
{
	int events;

	controller->busy = true;
	flush(controller);
	take_next_line(controller);
	if (controller->all)
		flush(controller);
	if (may_take(controller) && controller->in_length == CONTROL_LINE_MAX && !next_newline(controller))
		refuse_long_line(controller);
	controller->busy = false;
	if (!controller->all) {
		free_if_done(controller);
		return;
	}
	events = events_of(controller);
	if (controller->broken || (controller->ended && controller->calls == 0 && events == 0))
		close_connection(controller);
	else
		wait_for(controller, events);
}

static void receive(struct controller *controller)
{
	ssize_t got = recv(controller->fd, controller->in + controller->in_length,
		CONTROL_LINE_MAX - controller->in_length, 0);

	if (got > 0)
		controller->in_length += (size_t)got;
	else if (got == 0)
		controller->ended = true;
	else if (errno != EAGAIN && errno != EINTR)
		controller->broken = true;
}

static void on_ready(struct ev_loop *ev, ev_io *watcher, int events)
{
	struct controller *controller = watcher->data;

	(void)ev;
	loop_assert_mine(controller->all->loop);
	if (events & EV_READ)
		receive(controller);
	advance(controller);
}

/* -- all of them -------------------------------------------------------------------------------------------------- */

void controllers_add(struct controllers *all, int fd)
{
	struct controller *controller = malloc(sizeof(*controller));

	if (!controller) {
		close(fd);
		return;
	}
	memset(controller, 0, offsetof(struct controller, in));
	controller->all = all;
	controller->fd = fd;
	controller->next = all->first;
	controller->link = &all->first;
	if (controller->next)
		controller->next->link = &controller->next;
	all->first = controller;
	all->count++;
	ev_io_init(&controller->on_ready, on_ready, fd, EV_READ);
	controller->on_ready.data = controller;
	ev_io_start(all->loop->ev, &controller->on_ready);
	if (all->count <= CONTROL_CONNECTIONS_MAX)
		return;
	queue_error(controller, NULL, "there are too many controllers");
	flush(controller);
	close_connection(controller);
}

void controllers_close(struct controllers *all)
{
	struct controller *next;

	for (struct controller *controller = all->first; controller; controller = next) {
		next = controller->next;
		close_connection(controller);
	}
}
